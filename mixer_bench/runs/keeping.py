"""What is kept beside a record of what its run learned: a small probe always, a network where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixer_bench.results import probes
from mixer_bench.results.kept import Kept
from mixer_bench.results.probes import Probe
from mixer_bench.runs.plan import Group

# Bytes of a probe: 64 classes by 1,024 features. 10,000 records keep 5 GB at most, VTAB's of a base model a third of
# that. What is larger, as the neighbours of most tasks, is fitted again when it is exported.
LARGEST = 1 << 19


def of_probe(group: Group, probe: Probe | None) -> bytes | None:
    """Return what is kept of a probe, as in its file; None where it is too large, or the protocol gives none."""
    kept = whole(group, probe) if probe else None
    small = kept and sum(values.nbytes for values in kept.tensors.values()) <= LARGEST
    return kept.content if kept and small else None


def whole(group: Group, probe: Probe) -> Kept:
    """Return a probe with all that is known of its task, whatever its size."""
    return probes.kept(probe, _about(group))


def of_network(group: Group, state: dict[str, np.ndarray] | None) -> bytes | None:
    """Return what is kept of a trained network, as in its file; its tensors are named as in timm's."""
    if state is None or group.card.network is None:
        return None
    return Kept({**_about(group), "kind": "network", "architecture": group.card.network.identity}, state).content


def _about(group: Group) -> dict[str, Any]:
    data = group.data
    return {"classes": list(data.class_names), "upright": data.test.upright, "licence": group.task.licence}
