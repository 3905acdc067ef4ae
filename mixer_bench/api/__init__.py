"""The verbs as functions: what the command line and ``import mixer_bench`` share."""
