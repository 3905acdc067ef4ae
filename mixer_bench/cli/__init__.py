"""The command line: arguments in, calls out."""

from mixer_bench.cli.app import main

__all__ = ["main"]
