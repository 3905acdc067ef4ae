"""Two models, paired by seed and example."""
