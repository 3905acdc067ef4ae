"""From a task to its images and labels: ``load(task)``. One module a kind of source."""

from mixer_bench.data.examples import Development, Examples, Images, TaskData
from mixer_bench.data.loading import load

__all__ = ["Development", "Examples", "Images", "TaskData", "load"]
