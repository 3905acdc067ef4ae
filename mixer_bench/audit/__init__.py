"""What is wrong with a task's images: labels, near-duplicates, classes that are mixed up."""
