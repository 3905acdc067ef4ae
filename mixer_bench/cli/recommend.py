"""The verb recommend."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mixer_bench.cli.options import Json, read, takes
from mixer_bench.recommend.options import ASKED, Options


@takes(Options, *ASKED)
def recommend(
    *,
    task: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of class folders, or a task as in run.")],
    as_json: Json = False,
    **flags: Any,
) -> None:
    """Which backbone to take for these images, what it gives, what is as good, and what labels or fine-tuning bring.

    Without --model those that come with the package and those whose weights are on this machine are compared.
    """
    from mixer_bench.recommend import text
    from mixer_bench.recommend.recommend import recommend as recommended
    from mixer_bench.system.console import coloured, tell
    from mixer_bench.system.progress import ProgressLog, quiet, unheard

    options = read(Options, {**flags, "task": [task]})
    told = recommended(options, unheard, quiet) if as_json else recommended(options, tell, ProgressLog)
    if as_json:
        print(json.dumps(told.model_dump(mode="json"), indent=1))
        return
    print(text.text(told, coloured()), end="")
    place = options.output_dir
    print(f"records: {place / 'runs'}   table: mixer-bench report --results {place}")
    tuned = told.winner.tuned.record if told.winner.tuned else ""
    if record := told.winner.record:
        also = f"   fine-tuned: RUN = {tuned}" if tuned else ""
        print(f"take it away: mixer-bench export {record} --results {place} --to DIR{also}")
