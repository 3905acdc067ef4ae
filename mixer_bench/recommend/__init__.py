"""Which backbone for these images: candidates are compared on growing parts of train, and the best are measured."""
