"""The accuracy of the class that is recognised worst: what whoever meets any class can count on."""

import numpy as np

from mixer_bench.stats.intervals import proportion_interval
from mixer_bench.stats.metrics import Metric


def worst(prediction, label):
    """Return whether each answer to the class with the lowest accuracy was right; bool, as many as it has examples."""
    return min((prediction[label == number] == number for number in np.unique(label)), key=np.mean)


def score(prediction, label, num_classes):
    """Return that accuracy; int [N], int [N]."""
    return float(worst(prediction, label).mean())


def interval(prediction, label, num_classes):
    """Return Wilson's interval of it, as if one had known before which class it would be."""
    right = worst(prediction, label)
    return proportion_interval(int(right.sum()), len(right))


METRIC = Metric("worst_class", "accuracy of the worst class", score, interval)
