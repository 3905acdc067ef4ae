"""What a number was made with: versions and device. No user, host or folder names."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from pathlib import Path
from typing import Literal

from mixer_bench import __version__
from mixer_bench.system import packages
from mixer_bench.system.console import tell
from mixer_bench.system.paths import PACKAGE

Precision = Literal["fp32", "bf16", "fp16"]  # the lower two by autocast
PACKAGES = ("torch", "timm", "numpy", "scipy", "scikit-learn", "pillow", "simplejpeg", "safetensors")
# What Pillow decodes with: pixels of lossy files are theirs, and they are not always those of its wheels.
DECODERS = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "zlib": "zlib"}


def describe(device: str, threads: int) -> dict[str, str]:
    """Return what can move a number: versions, processor, device, its threads, and the commit of a checkout."""
    return {**unchanging(), "device": device, "threads": str(threads)}


@functools.cache
def unchanging() -> dict[str, str]:
    """Return what stays as it is while a process lives: versions, processor and commit."""
    from PIL import features

    values = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    values |= {"mixer-bench": __version__, **{package: packages.version(package) for package in PACKAGES}}
    values |= {library: features.version(name) or "not built in" for library, name in DECODERS.items()}
    commit = _commit()
    return {**values, "processor": processor(), **({"commit": commit} if commit else {})}


def with_threads(name: str, threads: int) -> str:
    """Return a processor's name with how many threads compute there, in words."""
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}"


def peak_memory() -> int | None:
    """Return the most memory this process has held so far, bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cores() -> int:
    """Return how many processors the mask of this process and the quota of its cgroup leave it."""
    from joblib import cpu_count

    return int(cpu_count())


def may_have_gpu() -> bool:
    """Return whether a GPU that torch can use may be here; asked without loading torch, so "yes" means "ask torch"."""
    if sys.platform == "linux":
        return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    return sys.platform != "darwin"


def processor() -> str:
    """Return the CPU's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the checkout this package lies in, with ``+`` if files differ from it; None when installed."""
    if not (PACKAGE.parent / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE.parent), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=10).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "mixer_bench", "tasks")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError) as error:
        tell(f"note: no commit recorded ({error})")
        return None
