"""What other packages add: a broken plug-in is refused by name and package, and hides nothing else."""

import re
import sys
from pathlib import Path

import pytest

from mixer_bench.errors import UsageError
from mixer_bench.system import plugins
from mixer_bench.task import task
from tests.builders import install

GROUP = "mixer_bench.toys"


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toy_module.py").write_text("VERSION = 1\n", encoding="utf-8")
    (tmp_path / "toy_broken.py").write_text("import no_such_library\n", encoding="utf-8")
    (tmp_path / "toy_quits.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "toy_module", raising=False)
    install(
        tmp_path,
        "toy_a",
        GROUP,
        {"good": "toy_module", "broken": "toy_broken", "twice": "toy_module", "quits": "toy_quits"},
    )
    functions = "def lost():\n    raise KeyError('lost')\n\n\ndef none():\n    pass\n\n\n"
    functions += "def quits():\n    raise SystemExit(0)\n"
    (tmp_path / "toy_paths.py").write_text(functions, encoding="utf-8")
    install(
        tmp_path,
        "toy_c",
        "mixer_bench.tasks",
        {"lost": "toy_paths:lost", "none": "toy_paths:none", "quits": "toy_paths:quits"},
    )
    install(tmp_path, "toy_b", GROUP, {"twice": "toy_module", "ours": "toy_module"})


@pytest.mark.parametrize(
    ("name", "parts", "said"),
    [
        ("broken", (), r"of package toy_a 1\.0 cannot be imported \(ModuleNotFoundError: .*no_such_library"),
        ("quits", (), r"of package toy_a 1\.0 cannot be imported \(SystemExit: 0\)"),
        ("good", ("VERSION", "Config", "fit"), r"of package toy_a 1\.0 has no Config, fit"),
        ("twice", (), r"of package toy_\w 1\.0 and package toy_\w 1\.0: only one of that name"),
        ("ours", (), r"of package toy_b 1\.0: mixer-bench has one of that name; uninstall or rename it"),
    ],
)
def test_a_plug_in_that_is_of_no_use_is_named_with_its_package(name: str, parts: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=f"^toy {re.escape(repr(name))} {said}"):
        plugins.load("toy", GROUP, name, ours=["ours"], parts=parts)


def test_the_others_still_work() -> None:
    assert plugins.names(GROUP) == {"good", "broken", "twice", "ours", "quits"}
    assert plugins.load("toy", GROUP, "good", ours=["ours"], parts=["VERSION"]).VERSION == 1


@pytest.mark.parametrize(
    ("name", "said"), [("lost", "KeyError: 'lost'"), ("none", "TypeError: .*None.*"), ("quits", "SystemExit: 0")]
)
def test_a_function_that_gives_no_path_is_named_with_its_package(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"^toy '{name}' of package toy_c 1\.0: gives no path \({said}\)$"):
        plugins.path_of("toy", "mixer_bench.tasks", name)


def test_such_a_plug_in_of_tasks_hides_no_other_task() -> None:
    task._installed.cache_clear()
    try:
        known, wrong = task._installed()
    finally:
        task._installed.cache_clear()
    assert known.keys() == task.load_tasks(task.TASKS).keys()
    assert [str(error).partition(":")[0] for error in wrong] == [
        f"tasks '{name}' of package toy_c 1.0" for name in ("lost", "none", "quits")
    ]
