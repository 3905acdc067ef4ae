"""A page of thumbnails, each with what is said of it; needs nothing else, and requests nothing.

What is said is text and never markup: jinja2 escapes it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 128  # pixels of a thumbnail, at most
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
ol { display: flex; flex-wrap: wrap; gap: 1rem; list-style: none; padding: 0 }
li { border: 1px solid #8886; border-radius: 6px; max-width: 19rem; overflow-wrap: anywhere; padding: .5rem }
img { margin-right: .25rem; max-width: 100%; vertical-align: top }
p { margin: .25rem 0 }
</style>
<h1>{{ title }}</h1>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}
{% for heading, every in sections.items() if every %}<h2>{{ heading }}</h2>
<ol>
{% for shown in every %}<li>
{% for source in shown.sources %}<img src="{{ source }}" alt="">
{% endfor %}
{% for line in shown.captions %}<p>{{ line }}</p>
{% endfor %}
</li>
{% endfor %}</ol>
{% endfor %}
</html>
"""


class Shown(NamedTuple):
    """Images side by side, and what is said of them."""

    sources: Sequence[str]  # as ``thumbnail`` gives them
    captions: Sequence[str]


def thumbnail(image: np.ndarray) -> str:
    """Return an image, uint8 [height, width, 3], small and as the source of an ``img``."""
    small, content = Image.fromarray(np.ascontiguousarray(image)), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def page(title: str, lines: Sequence[str], sections: Mapping[str, Sequence[Shown]]) -> str:
    """Return the page as HTML: a title, lines of text, and sections of thumbnails by their headings."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined).from_string(PAGE)
    return str(template.render(title=title, lines=lines, sections=sections))
