"""Records: identity, files, predictions."""
