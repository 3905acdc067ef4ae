"""One module a kind of source: what it holds, before anything is cut."""
