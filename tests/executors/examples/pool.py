"""An executor: whatever has ``submit``, as pools of mpi4py.futures and dask.distributed have."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from mixer_bench.executors import Cell, Ended, Site, Told
from mixer_bench.executors.worker import done
from mixer_bench.system.progress import unheard


def work(cell: str) -> str:
    return done(Cell.model_validate_json(cell), unheard).model_dump_json()


class Pool:
    def __init__(self, site: Site) -> None:
        self.workers = site.jobs or 1  # site.settings has what --executor-set says

    def run(self, cells: Sequence[Cell]) -> Generator[Told]:
        with ThreadPoolExecutor(self.workers) as pool:
            begun = {pool.submit(work, cell.model_dump_json()): number for number, cell in enumerate(cells)}
            for future in as_completed(begun):
                yield Told(number=begun[future], ended=Ended.model_validate_json(future.result()))
