"""``python -m mixer_bench``."""

from mixer_bench.cli.app import entry

if __name__ == "__main__":
    entry()
