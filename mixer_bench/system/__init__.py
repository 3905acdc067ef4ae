"""Files, paths, console, network and machine: the effects at the edges."""
