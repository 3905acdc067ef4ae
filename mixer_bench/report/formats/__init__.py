"""Tables as text, Markdown, CSV, LaTeX and an HTML page."""
