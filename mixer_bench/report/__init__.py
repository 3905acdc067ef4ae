"""Records to reports: an index, tables and figures made of it, and formats they are written in. Never imports torch."""
