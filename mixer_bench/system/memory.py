"""Memory of the host that this process may still take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 4 << 30  # bytes taken for free where no system tells
MEMINFO, OWN_GROUPS, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Files of a control group that say its limit and what it holds; what of that, by memory.stat, gives way when asked to.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available() -> int:
    """Return how many bytes of host memory are free, or held by caches that give way.

    The kernel estimates it (proc(5), "MemAvailable"); where a container or a scheduler's job has a limit, it is what
    that leaves, files that were read and not used since counted as free (so does the kubelet's "working set").
    """
    return max(0, min([_of_machine(), *_of_groups()]))


def _of_machine() -> int:
    if estimate := re.search(r"^MemAvailable:\s+(\d+) kB", _text(MEMINFO), re.MULTILINE):
        return int(estimate[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN


def _of_groups() -> Iterator[int]:
    """Give what each control group with a limit leaves to this process: its own group, and all above that."""
    for line in _text(OWN_GROUPS).splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (GROUPS / "memory", VERSION_1) if controllers else (GROUPS, VERSION_2)
        # In a container the place may be one of the host's, which is not there; its own limit is at the root then.
        for folder in (root / place.strip("/"), *(root / place.strip("/")).parents):
            if folder.is_relative_to(root):
                yield from _left(folder, *names)


def _left(folder: Path, limit: str, usage: str, idle: str) -> Iterator[int]:
    most, held = (_text(folder / name).strip() for name in (limit, usage))
    if most.isdigit() and held.isdigit():
        gives_way = re.search(rf"^{idle} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
        yield int(most) - int(held) + (int(gives_way[1]) if gives_way else 0)


def _text(file: Path) -> str:
    """Return what a file of the kernel says; nothing where there is none, or it may not be read."""
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
