"""Task files: what is measured on."""
