"""Metrics, intervals and tests. Pure."""
