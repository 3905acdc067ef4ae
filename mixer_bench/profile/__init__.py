"""Speed, size and memory of networks."""
