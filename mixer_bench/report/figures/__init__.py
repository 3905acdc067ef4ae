"""Figures of a report, drawn from the cells of its tables."""
