"""What loads what: light verbs stay light, and timm stays in one place."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mixer_bench"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["prepare", "--help"],
        ["doctor", "--help"],
        ["profile", "--help"],
        ["show", "protocol", "finetune"],
        ["list", "tasks"],
        ["list", "models"],
        ["list", "protocols"],
        ["show", "task", "vtab/pets"],
        ["show", "model", "mixer_nano"],
        ["show", "protocol", "fewshot"],
        ["report", "--results", "no-such-folder"],
        ["check", "no-such-file", "--results", "no-such-folder"],
        ["compare", "a", "b", "--help"],
        ["merge", "--help"],
    ],
    ids=" ".join,
)
def test_light_verbs_load_neither_torch_nor_timm(arguments: list[str]) -> None:
    heavy = ("torch", "timm", "datasets", "sklearn", "pandas", "matplotlib")
    code = (
        "import sys; from mixer_bench.cli.app import main; "
        f"code = main({arguments!r}); "
        f"print('LOADED', code, [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = 1 if "no-such-folder" in arguments else 0
    assert done.stdout.splitlines()[-1] == f"LOADED {expected} []", done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, mixer_bench; print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def modules_naming(pattern: str) -> set[str]:
    found = (file for file in PACKAGE.rglob("*.py") if re.search(pattern, file.read_text(), re.MULTILINE))
    return {file.relative_to(PACKAGE).as_posix() for file in found}


def test_timm_is_imported_in_two_modules() -> None:
    assert modules_naming(r"^\s*(import|from) timm\b") == {"models/networks.py", "models/timm_cards.py"}


def test_tasks_folder_holds_data_only() -> None:
    strays = [file for file in (PACKAGE.parent / "tasks").rglob("*") if file.is_file() and file.suffix != ".toml"]
    assert strays == []
