"""Write the version and the digest of each concern's code into mixer_bench/system/code.toml, as they are now.

    python tools/digests.py

Run it after a change of code that can move a number, when its version is raised or no number can move: the difference
that git shows then says which of the two it was. It prints the concerns whose digest is another.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from mixer_bench.system import code


def version_of(concern: code.Concern) -> int:
    """Return the version of a concern in a run's identity, found where ``version_in`` says."""
    module, _, name = str(concern.version_in).partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        fields = getattr(value, "model_fields", {})
        value = fields[part].default if part in fields else getattr(value, part)
    if not isinstance(value, int):
        raise TypeError(f"{concern.version_in} is {value!r}, no version")
    return value


def refreshed(text: str) -> str:
    """Return the table's text with the versions and digests of today."""
    for name, concern in code.concerns().items():
        if concern.version_in is not None:
            stamp = f'version = {version_of(concern)}\ndigest = "{code.digests()[name]}"\n'
            section = re.search(rf"^\[concern\.{name}\]\n(?:(?!\[).*\n)*", text, re.MULTILINE)
            if section is None:
                raise ValueError(f"[concern.{name}] is not found in {code.TABLE.name}")
            bare = re.sub(r"^(?:version|digest) = .*\n", "", section[0], flags=re.MULTILINE)
            head, line, rest = bare.partition(f'version_in = "{concern.version_in}"\n')
            text = text.replace(section[0], head + line + stamp + rest)
    return text


if __name__ == "__main__":
    earlier = {name: concern.digest for name, concern in code.concerns().items() if concern.version_in is not None}
    code.TABLE.write_text(refreshed(code.TABLE.read_text(encoding="utf-8")), encoding="utf-8")
    changed = [name for name, digest in earlier.items() if digest != code.digests()[name]]
    print(f"{code.TABLE.name}: {', '.join(changed) or 'nothing'} changed")
