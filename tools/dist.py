"""Build what is released into dist/, check it, and try the wheel where nothing else of the project is.

    python tools/dist.py

Needs a checkout of git and a package index. Two environments are made in a folder of their own: one with all that the
wheel asks for, which takes minutes and gigabytes (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu: fewer), and
one with what docs/using.md names for those who only read results.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "dist"
BUILDERS = ("build", "twine>=6.1", "check-wheel-contents")
LARGEST = 12_000_000  # bytes: a job of CI fetches it each time; nine tenths are the embedded checkpoints and images
INSTALLED = {  # of the tree, where in the wheel
    "mixer_bench/": "mixer_bench/",
    "tasks/": "mixer_bench/tasks/",
    "results/published/": "mixer_bench/published/",
}
MODELS = "mixer_nano,vit_nano,resnet_nano,pixels"
FORMATS = ("table", "markdown", "csv", "latex", "html", "json")


class Environment:
    """An environment of Python, and commands done in it in a folder that knows nothing of the project."""

    def __init__(self, place: Path, folder: Path) -> None:
        """Make it in ``place``."""
        venv.create(place, with_pip=True)
        self.folder, self.scripts = folder, place / ("Scripts" if os.name == "nt" else "bin")
        foreign = ("PYTHONPATH", "VIRTUAL_ENV", "MIXER_BENCH_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        path = os.pathsep.join([str(self.scripts), os.environ["PATH"]])
        self.variables = {**kept, "PATH": path, "MIXER_BENCH_CACHE": str(folder / "cache")}

    def do(self, command: str, code: int = 0, **places: Path | str) -> str:
        """Do a command, whose words in braces are ``places``; return what it says, or end with that if it fails."""
        words = [word.format(**places) for word in shlex.split(command)]
        print("$", shlex.join(words), flush=True)
        program = self.scripts / words[0]
        done = subprocess.run(
            [program if program.exists() else words[0], *words[1:]],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != code:
            sys.exit(f"{done.stdout}\nexit code {done.returncode}, not {code}: {command}")
        return done.stdout

    def install(self, *commands: str, **places: Path | str) -> None:
        """Install by commands of pip, and print what that takes."""
        started = time.monotonic()
        for command in commands:
            self.do(f"python -m pip {command} --quiet --disable-pip-version-check", **places)
        packages = Path(self.do('python -c "import mixer_bench; print(mixer_bench.__file__)"').strip()).parents[1]
        assert not packages.is_relative_to(ROOT), f"the tree is on the path: {packages}"
        size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file())
        print(f"  {time.monotonic() - started:.0f} s, {size / 1e9:.1f} GB")


def tracked() -> set[str]:
    """Return the files of the commit, with what has been added to it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(listed.stdout.split("\0")) - {""}


def contents(wheel: Path) -> dict[str, int]:
    """Return the files of a wheel, with a checksum of each."""
    return {entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()}


def differing(what: str, there: set[str], wanted: set[str]) -> None:
    """End if files are missing or too many."""
    if there != wanted:
        sys.exit(f"{what} lacks {sorted(wanted - there)} and has besides {sorted(there - wanted)}")


def built(folder: Path) -> Path:
    """Build and check sdist and wheel; return the wheel."""
    tools = Environment(folder / "tools", folder)
    tools.do(f"python -m pip install --quiet --disable-pip-version-check {shlex.join(BUILDERS)}")
    for old in OUT.glob("mixer_bench-*"):
        old.unlink()
    tools.do("python -m build --outdir {out} {root}", out=OUT, root=ROOT)  # the wheel from the sdist
    tools.do("python -m build --wheel --outdir {out} {root}", out=folder / "direct", root=ROOT)
    (wheel,), (direct,), (sdist,) = OUT.glob("*.whl"), (folder / "direct").glob("*.whl"), OUT.glob("*.tar.gz")
    assert contents(wheel) == contents(direct), "the wheel of the sdist is another than that of the tree"
    files, installed = tracked(), {name for name in contents(wheel) if ".dist-info/" not in name}
    wanted = {f"{to}{name[len(of) :]}" for name in files for of, to in INSTALLED.items() if name.startswith(of)}
    differing("the wheel", installed, wanted)
    with tarfile.open(sdist) as packed:
        shipped = {name.partition("/")[2] for name in packed.getnames()} - {"PKG-INFO"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = tuple(name.lstrip("/") for name in project["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"])
    differing("the sdist", shipped, {name for name in files if not name.startswith(left_out)})
    tools.do("python -m twine check --strict {wheel} {sdist}", wheel=wheel, sdist=sdist)
    tools.do("check-wheel-contents {wheel}", wheel=wheel)
    for file in (wheel, sdist):
        print(f"  {file.name}: {file.stat().st_size / 1e6:.1f} MB")
        assert file.stat().st_size <= LARGEST, f"{file.name} is larger than {LARGEST:,} bytes"
    return wheel


def measured(environment: Environment) -> None:
    """Try what users do first: the demo, small, and the gate on the embedded tasks."""
    do, folder = environment.do, environment.folder
    do("python -W error -m mixer_bench list tasks")
    print(do("mixer-bench --version").strip())
    do("mixer-bench doctor --task embedded")
    do(f"mixer-bench run --task embedded --model {MODELS} --protocol fewshot,knn --shots 5,10")
    (folder / "baseline.json").write_bytes((ROOT / "results" / "baselines" / "embedded.json").read_bytes())
    print(do("mixer-bench check baseline.json").strip().splitlines()[-1])
    tiny = "--preset small --set steps=2 --set warmup=1"
    do(f"mixer-bench run --task clipart --model mixer_nano --protocol finetune {tiny}")
    with zipfile.ZipFile(ROOT / "mixer_bench" / "embedded" / "clipart" / "images.zip") as images:
        images.extractall(folder / "images")
    recommended = do("mixer-bench recommend images --model mixer_nano,pixels --budget 2m --output-dir own")
    print(recommended.strip())
    (winner,) = re.findall(r"mixer-bench export (\S+)", recommended)
    do("mixer-bench export {winner} --results own --to winner", winner=winner)
    do("mixer-bench predict winner images --output predictions.csv")


def read(environment: Environment) -> dict[str, str]:
    """Try what only reads results; return the reports by their formats."""
    do = environment.do
    record = next((environment.folder / "results" / "runs" / "digits").rglob("*.json"))
    for command in (
        "list models",
        "list protocols",
        "show task vtab/pets",
        "show model mixer_nano",
        "doctor --task embedded",
    ):
        do(f"mixer-bench {command}")
    do("mixer-bench compare mixer_nano pixels")
    do("mixer-bench check baseline.json")
    do("mixer-bench merge merged results")
    do("mixer-bench explain {record}", record=record)
    do("mixer-bench per-class {record}", record=record)
    for name in FORMATS:
        do(f"mixer-bench report --format {name} --output report.{name}")
    return {name: (environment.folder / f"report.{name}").read_text(encoding="utf-8") for name in FORMATS}


def main() -> None:
    """Do all of it."""
    with tempfile.TemporaryDirectory(prefix="mixer-bench Räder ") as place:  # with a blank and an umlaut, as users have
        folder = Path(place)
        wheel, work = built(folder), folder / "work"
        work.mkdir()
        whole = Environment(folder / "whole", work)
        whole.install("install {wheel}", wheel=wheel)
        measured(whole)
        reports = read(whole)
        using = (ROOT / "docs" / "using.md").read_text(encoding="utf-8").replace("\\\n", " ")
        commands = re.search(r"^    pip (install --no-deps) mixer-bench && pip (.*)$", using, re.MULTILINE)
        assert commands, "docs/using.md no longer says how to install without PyTorch"
        light = Environment(folder / "light", work)
        light.install(f"{commands[1]} {{wheel}}", commands[2], wheel=wheel)
        light.do('python -c "import torch"', code=1)
        assert read(light) == reports, "reports differ where PyTorch is not installed"
        print(light.do("mixer-bench run --task digits --model pixels", code=2).strip())


if __name__ == "__main__":
    main()
