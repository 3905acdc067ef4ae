"""Processes of this machine, a GPU each or a share of its processors each, that do one cell after another."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from mixer_bench.errors import UsageError
from mixer_bench.executors import AGAIN, Cell, Ended, Site, Told
from mixer_bench.executors.worker import CORES
from mixer_bench.system import machine

GPUS, THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
# -P: a folder "datasets" in the working folder is nothing to it.
COMMAND = (sys.executable, "-P", "-m", "mixer_bench.executors.worker")
KILLED = 9  # SIGKILL, which Windows does not name
LAST_WORDS = 2.0  # seconds in which a process that has ended is heard out: another that it started may go on


def executor(site: Site) -> Local:
    """Return what does cells on this machine.

    Raises:
        UsageError: more GPUs are asked for than there are, or a setting, of which there are none.
    """
    if site.settings:
        raise UsageError(f"--executor-set {min(site.settings)}: the executor local has no settings")
    on_gpus = site.device == "cuda" or site.device.startswith("cuda:")
    gpus = visible_gpus() if site.device in ("auto", "cuda") else []
    jobs = site.jobs or max(1, len(gpus))
    if jobs > max(1, len(gpus)) and (gpus or on_gpus):
        here = f"{len(gpus)} are here" if site.device in ("auto", "cuda") else f"--device {site.device} is one"
        raise UsageError(f"--jobs {jobs}: each process has a GPU of its own, and {here}")
    return Local(environments(gpus, jobs, processors(), os.environ))


def visible_gpus() -> list[str]:
    """Return the GPUs that torch sees here, each as CUDA_VISIBLE_DEVICES names it; none is used for it."""
    if not machine.may_have_gpu():
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def environments(
    gpus: Sequence[str], jobs: int, cores: Sequence[int], given: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return what each of ``jobs`` processes has in its environment besides what is ``given``.

    Args:
        gpus: names of GPUs, as many as processes at least, or none.
        jobs: processes.
        cores: numbers of processors, which are shared out; where there are fewer, several processes have the same.
        given: the environment of this process: a number of threads that somebody chose is left as it is.
    """
    made = []
    for number in range(jobs):
        share = cores[number * len(cores) // jobs : (number + 1) * len(cores) // jobs]
        share = share or [cores[number % len(cores)]]
        threads = {} if given.get(THREADS) else {THREADS: str(len(share))}
        gpu = {GPUS: gpus[number]} if gpus else {}
        made.append({CORES: ",".join(map(str, share)), **threads, **gpu})
    return made


def launch(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process that does cells. It is of no terminal: signals are told it by whoever started it."""
    # Its pipes as they are written and read here, whatever a terminal of this system has.
    fixed = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONIOENCODING": "utf-8"}
    pipe, here = subprocess.PIPE, {**os.environ, **environment, **fixed}
    return subprocess.Popen(
        COMMAND, env=here, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", start_new_session=True
    )


class Local:
    """The executor of this machine."""

    def __init__(self, of_each: Sequence[Mapping[str, str]]) -> None:
        """Work in as many processes as there are environments."""
        self._environments = of_each
        self.workers = len(of_each)

    def run(self, cells: Sequence[Cell]) -> Generator[Told]:
        """Do all cells. A process that is killed loses its cell; another takes its place and does the next."""
        work = _Work(deque(enumerate(cells)))
        posts = [_Post(number, work, self._environments[number]) for number in range(min(self.workers, len(cells)))]
        for post in posts:
            post.start()
        left = len(posts)
        try:
            while left:
                told = work.told.get()
                if told is None:
                    left -= 1
                else:
                    yield told
            for number, _ in work.todo:
                yield Told(number=number, ended=Ended(error=f"{cells[number].label}: no process began it", exit_code=1))
        finally:
            work.stopped.set()
            try:
                for post in posts:
                    post.close()
                for post in posts:
                    post.join()
            except BaseException:  # told to end once more
                for post in posts:
                    post.kill()
                raise


@dataclass
class _Work:
    """What the threads that look after processes share."""

    todo: deque[tuple[int, Cell]]
    told: queue.Queue[Told | None] = field(default_factory=queue.Queue)
    stopped: threading.Event = field(default_factory=threading.Event)


class _Post(threading.Thread):
    """The place of one process: as long as there is work, one is there."""

    def __init__(self, number: int, work: _Work, environment: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self._number, self._work, self._environment = number, work, environment
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Give out cells until there are none, or a process does not even begin."""
        begins = True
        while begins and not self._work.stopped.is_set():
            try:
                number, cell = self._work.todo.popleft()
            except IndexError:
                break
            begins = self._does(number, cell)
        if self._process is not None:
            self._ended(self._process)
        self._work.told.put(None)

    def close(self) -> None:
        """Let the process end: at once where it has nothing to do, else with a checkpoint."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def _does(self, number: int, cell: Cell) -> bool:
        """Have a cell done; return whether the process that was to do it began to work."""
        begun = self._process is not None
        process = self._process or self._launched()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, or is to end
            process.stdin.write(f"{number} {cell.model_dump_json()}\n")
            process.stdin.flush()
        for line in process.stdout:
            told = Told.model_validate_json(line).model_copy(update={"worker": self._number})
            begun = True
            if told.number == number:
                self._work.told.put(told)
            if told.ended is not None:
                return True
        code = self._ended(process)
        if not self._work.stopped.is_set():
            ended = Ended(error=f"{cell.label}: its process {_fate(code)}; {AGAIN}", exit_code=1)
            self._work.told.put(Told(number=number, worker=self._number, ended=ended))
        return begun

    def _launched(self) -> subprocess.Popen[str]:
        self._process = process = launch(self._environment)
        self._words = threading.Thread(target=self._repeat, args=(process,), daemon=True)
        self._words.start()
        if self._work.stopped.is_set():  # meanwhile
            self.close()
        return process

    def _ended(self, process: subprocess.Popen[str]) -> int:
        """Let a process end that has nothing more to do; return its exit code, when all it said was repeated."""
        self.close()
        code, self._process = process.wait(), None
        self._words.join(LAST_WORDS)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def _repeat(self, process: subprocess.Popen[str]) -> None:
        """Repeat what the process says besides."""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._work.told.put(Told(number=-1, worker=self._number, line=line.rstrip("\n")))


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} meanwhile"
    reason = ", as the system does where memory runs out" if code == -KILLED else ""
    return f"was killed by signal {-code}{reason}"
