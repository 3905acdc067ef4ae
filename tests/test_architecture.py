"""What loads what, and how large files and functions may be: light verbs stay light, and timm stays in one place."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mixer_bench"
MODULES = {file.relative_to(PACKAGE).as_posix(): file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, mixer_bench; print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def modules_naming(pattern: str) -> set[str]:
    return {name for name, text in MODULES.items() if re.search(pattern, text, re.MULTILINE)}


def test_timm_is_imported_in_two_modules() -> None:
    assert modules_naming(r"^\s*(import|from) timm\b") == {"models/networks.py", "models/timm_cards.py"}


def test_tasks_folder_holds_data_only() -> None:
    strays = [file for file in (PACKAGE.parent / "tasks").rglob("*") if file.is_file() and file.suffix != ".toml"]
    assert strays == []


LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PARAMETERS = 300, 45, 8


def test_the_root_has_three_modules_and_no_room_is_named_after_nothing() -> None:
    assert {name for name in MODULES if "/" not in name} == {"__init__.py", "__main__.py", "errors.py"}
    parts = {part for name in MODULES for part in Path(name).with_suffix("").parts}
    assert parts & {"utils", "helpers", "common", "misc"} == set()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_files_and_functions_are_small(name: str) -> None:
    assert len(MODULES[name].splitlines()) <= LINES_OF_A_FILE
    functions = [node for node in ast.walk(ast.parse(MODULES[name])) if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in functions if node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION} == set()
    taken = {node.name: [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] for node in functions}
    many = {name for name, arguments in taken.items() if len([a for a in arguments if a.arg != "self"]) > PARAMETERS}
    assert many == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    import grimp

    graph = grimp.build_graph("mixer_bench", exclude_type_checking_imports=True, cache_dir=None)
    reached = {name: graph.find_upstream_modules(name) for name in graph.modules}
    assert {name for name, upstream in reached.items() for other in upstream if name in reached[other]} == set()
