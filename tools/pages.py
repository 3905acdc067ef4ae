"""What mkdocs puts in place of marks in the pages of docs/: text that README, code or notebooks have already.

`<!-- readme -->`, `<!-- commands -->`, `<!-- functions -->`, `<!-- fields NAME -->` and `<!-- notebook FILE -->`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of a page; mkdocs calls it."""
    return re.sub(r"^<!-- (\w+)(?: (\S+))? -->$", _text, markdown, flags=re.MULTILINE)


def _text(mark: re.Match[str]) -> str:
    makers = {"readme": readme, "commands": commands, "functions": functions, "fields": fields, "notebook": notebook}
    if mark[1] not in makers:
        return mark[0]
    return makers[mark[1]](*filter(None, [mark[2]]))


def readme() -> str:
    """Return README.md with its links as they are from docs/; what lies in the repository alone is named there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\[(results/[^]]*)\]\(results/[^)]*\)", r"`\1`", text)


def notebook(name: str) -> str:
    """Return a notebook's cells: prose as it is, code as code."""
    cells = json.loads((ROOT / "docs" / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in texts)


def commands() -> str:
    """Return all verbs, each with its arguments and flags, as `--help` has them."""
    import typer

    from mixer_bench.cli import app

    program = typer.main.get_command(app.app)
    return "\n\n".join(_command(name, verb) for name, verb in program.commands.items())


def _command(name: str, verb: Any) -> str:
    arguments = [each for each in verb.params if not each.opts[0].startswith("-")]
    usage = " ".join(["mixer-bench", name, *(each.metavar or each.name.upper() for each in arguments), "[OPTIONS]"])
    rows = [f"| {cell(_written(each))} | {cell(_told(each))} |" for each in verb.params]
    return "\n".join(
        [f"## {name}", "", inspect.cleandoc(verb.help), "", f"    {usage}", "", "| | |", "|---|---|", *rows]
    )


def _written(parameter: Any) -> str:
    """Return how an argument or flag is written."""
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or '<str>'}"
    return f"`{', '.join(parameter.opts)}{value}`"


def _told(parameter: Any) -> str:
    """Return the help of an argument or flag, with a default that the help does not say."""
    shown = parameter.default not in (None, False, "") and "(default: " not in parameter.help
    return f"{parameter.help}{f' (default: {parameter.default})' if shown else ''}"


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|")


def functions() -> str:
    """Return all functions of the package with their arguments, as ``help`` has them."""
    import mixer_bench

    names = {name for name in mixer_bench.__all__ if name != "__version__"} | {"list"}
    return "\n\n".join(_function(name, getattr(mixer_bench, name)) for name in sorted(names))


def _function(name: str, function: Any) -> str:
    parameters = [f"{each}".split(":")[0].split("=")[0] for each in inspect.signature(function).parameters.values()]
    defaults = {each.name: each.default for each in inspect.signature(function).parameters.values()}
    told = [each if defaults[each] is inspect.Parameter.empty else f"{each}={defaults[each]!r}" for each in parameters]
    shown = ", ".join(told[:5]) + (", ..." if len(told) > 5 else "")
    return "\n".join([f"## {name}", "", f"    mixer_bench.{name}({shown})", "", *_docstring(inspect.getdoc(function))])


def _docstring(text: str | None) -> Iterator[str]:
    """Give a docstring as Markdown: its sections as headings in bold, what they name as lists."""
    listed = False
    for line in (text or "").splitlines():
        if line in ("Args:", "Returns:", "Raises:"):
            listed = line != "Returns:"
            yield f"**{ {'Args:': 'Arguments', 'Returns:': 'Returns', 'Raises:': 'Raises'}[line] }**\n"
        elif listed and (item := re.match(r" {4}(\w+): (.*)", line)):
            yield f"- `{item[1]}`: {item[2]}"
        else:
            yield line[2:] if listed else line.strip()


def fields(name: str) -> str:
    """Return the fields of a kind of value that files hold, with their types, by its JSON schema."""
    from mixer_bench.results.record import Record

    schema = Record.model_json_schema()
    kind = schema if name == "Record" else schema["$defs"][name]
    rows = [
        f"| `{key}` | {_type(value)} | {value.get('description', '')} |" for key, value in kind["properties"].items()
    ]
    return "\n".join([kind.get("description", ""), "", "| field | type | |", "|---|---|---|", *rows])


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(_type(each) for each in value["anyOf"])
    if "enum" in value or "const" in value:
        return ", ".join(f"`{each}`" for each in value.get("enum", [value.get("const")]))
    return str(value.get("type", "any"))
