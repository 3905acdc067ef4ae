"""The quickest run there is, by the command line."""

from pathlib import Path

from mixer_bench.cli import app

LIMITED = ["run", "--task", "digits", "--model", "pixels", "--limit", "60"]
RUN = [*LIMITED, "--shots", "1,5", "--seeds", "2"]


def run(folder: Path, *more: str) -> int:
    return app.main([*RUN, "--output-dir", str(folder), *more])
