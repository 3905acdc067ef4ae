"""The command line: arguments in, calls out. torch and timm are imported only inside the verbs that need them."""

from __future__ import annotations

import io
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperOption

from mixer_bench import __version__
from mixer_bench.cli import audit, catalogue, check, compare, data, export, pretrain, profile, recommend, report, run
from mixer_bench.errors import DataError, MixerBenchError, UsageError
from mixer_bench.system import packages, signals
from mixer_bench.system.console import show_notes, tell

INTERRUPTED = 130
# 128 + the signal; the last is SIGUSR2
ENDED_EARLY: dict[object, str] = {INTERRUPTED: "interrupted", 143: "terminated", 129: "hung up", 140: "told to end"}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --output_dir is --output-dir
    },
)


class Verb(TyperCommand):
    """A command that takes no flag twice: click would take the last one without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what is given twice, then read as click does."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in {id(parameter): parameter for parameter in order}.values():
            once = isinstance(parameter, TyperOption) and not parameter.multiple
            if once and sum(other is parameter for other in order) > 1:
                raise UsageError(f"{parameter.opts[0]} is given twice; give it once")
        return super().parse_args(ctx, args)


def _version(asked: bool) -> None:
    if asked:
        others = ", ".join(f"{name} {packages.version(name)}" for name in ("torch", "timm"))
        print(f"mixer-bench {__version__} ({others}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """How well does a pretrained backbone transfer, and is that better than the alternatives?"""


VERBS: tuple[Callable[..., None], ...] = (
    run.run,
    recommend.recommend,
    data.prepare,
    data.doctor,
    profile.profile,
    audit.audit,
    audit.audit_preprocessing,
    audit.per_class,
    report.report,
    compare.compare,
    check.check,
    export.export,
    export.predict,
    compare.merge,
    catalogue.list_,
    catalogue.show,
    catalogue.explain,
    pretrain.pretrain,
)
for verb in VERBS:
    app.command(verb.__name__.rstrip("_").replace("_", "-"), cls=Verb)(verb)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors are one line on stderr, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    show_notes()
    command: Any = typer.main.get_command(app)
    code: object = 0
    try:
        # What ends afterwards need not be told.
        with (
            packages.needed(),
            warnings.catch_warnings(),
            signals.heard(signals.TERMINATING, signals.terminate),
        ):
            warnings.filterwarnings("ignore", module="PIL")  # of metadata that nothing here reads
            command(arguments)
    except SystemExit as done:  # how typer ends: 0, a verb's Exit, 2 for wrong usage, 130 for Ctrl-C
        code = done.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except signals.Terminated as ended:
        code = ended.exit_code
    except MixerBenchError as error:
        tell(f"error: {error}")
        code = error.exit_code
    except OSError as error:
        tell(f"error: {error.filename or 'a file'}: {error.strerror}")
        code = DataError.exit_code
    if code in ENDED_EARLY:
        tell(f"\n{ENDED_EARLY[code]}; what is finished is kept; the same command does the rest")
    return code if isinstance(code, int) else 0


def entry() -> NoReturn:
    """Run the command line as a program, which ends with its exit code."""
    sys.exit(main())
