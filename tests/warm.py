"""What the process that is forked has at hand: everything loaded, every table read."""

import gc

import sklearn.linear_model  # noqa: F401

import mixer_bench.cli.app
import mixer_bench.gate.check
import mixer_bench.models.backbone
import mixer_bench.runs.runner
import mixer_bench.training.pretrain  # noqa: F401
from mixer_bench.models import zoo
from mixer_bench.system import code
from mixer_bench.task import task

code.digests()
zoo.cards()
task.tasks()
gc.freeze()
