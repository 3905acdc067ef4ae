"""The HTML page as text: complete, escaped, self-contained, and the same for the same records."""

import base64
import gzip
import itertools
import json
import re
import shlex
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.report import report
from mixer_bench.report.cells import cell_of
from mixer_bench.report.formats import details, html
from mixer_bench.report.verdict import verdicts
from mixer_bench.results.record import Record, Selection
from mixer_bench.results.store import Store
from mixer_bench.system import schema
from mixer_bench.task import task
from mixer_bench.training import presets
from tests.builders import a_record, a_run, plots_of, tables_of
from tests.report.test_report import GOLDEN, PREDICTIONS, a_study

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script><!--",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029 & &amp; '",
)


def a_hostile_record() -> Record:
    """Everything that is text in a record is an attack."""
    run = a_run(model=HOSTILE[0], task=HOSTILE[1], protocol=HOSTILE[2], config={"shots": 5, "told": HOSTILE[0]})
    selection = Selection.best(HOSTILE[0], (1.0, 2.0), (None, 0.5), 9).model_copy(update={"split": HOSTILE[1]})
    values = {"notes": HOSTILE, "extraction_notes": HOSTILE, "source": HOSTILE[1], "created": HOSTILE[0]}
    machine = {HOSTILE[0]: HOSTILE[2], "processor": HOSTILE[1]}
    return a_record(0.5, run, **values, selection=selection, environment=machine)


def the_page(records: list[Record], **changes: Any) -> str:
    built = tables_of(records)
    return html.write(built, verdicts(built), [], records, **{"folder": "study", **changes})


def packed(page: str) -> str:
    """The JSON of a page's data."""
    return gzip.decompress(base64.b64decode(page.partition('id="data">')[2].partition("<")[0], validate=True)).decode()


class Parsed(HTMLParser):
    """Elements with their attributes, the text of the page, and the data of its script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[tuple[int, str], str] = defaultdict(str)  # by number and name of the element they are in
        self._inside = ""
        self.feed(text)
        self.close()
        self.text = "".join(text for (_, inside), text in self.texts.items() if inside not in ("script", "style"))
        self.scripts = [text for (_, inside), text in self.texts.items() if inside == "script"]
        self.data = json.loads(packed(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[len(self.elements), self._inside] += data


def test_golden() -> None:
    """The page's body, with tables and what is behind each number; style and script are files of their own."""
    page = the_page(a_study())
    before, mark, _ = page.partition("<body>")[2].partition('id="data">')
    body = f"{before}{mark}{packed(page)}\n"  # another gzip packs otherwise
    file = GOLDEN / "report.html.txt"
    assert body == file.read_text(encoding="utf-8"), f"if the new page is meant, write its body to {file}"


def test_each_record_is_in_the_page_once_and_behind_its_cell() -> None:
    study = a_study()
    text = the_page(study)
    parsed = Parsed(text)
    keys = [run["key"] for group in parsed.data["groups"] for run in group["runs"]]
    assert sorted(keys) == sorted(record.run.key for record in study)
    assert all(packed(text).count(key) == 1 and key not in text for key in keys)
    cells = [attributes for tag, attributes in parsed.elements if tag == "td" and "data-groups" in attributes]
    first = parsed.data["groups"][int(cells[0]["data-groups"] or "")]
    assert (first["model"], first["runs"][0]["seed"]) == ("mixer_nano", 0)
    assert [run["metrics"]["top1"][0] for run in first["runs"]] == pytest.approx([0.51, 0.52, 0.53])
    assert len(cells) == 7


def test_a_mean_stands_on_the_groups_of_all_its_tasks() -> None:
    records = [a_record(0.5, a_run(task=name, seed=seed)) for name in ("one", "two") for seed in range(3)]
    known = details.of(records)
    cell = cell_of(records, "top1")
    assert known.places(cell) == [0, 1]
    assert [len(group["runs"]) for group in known.values["groups"]] == [3, 3]


def test_tables_of_one_name_have_one_link_which_leads_to_the_first() -> None:
    records = [a_record(run=a_run(**changes)) for changes in ({}, {"limit": 9}, {"task": "leaves"})]
    links = [element["href"] for tag, element in Parsed(the_page(records)).elements if tag == "a"]
    assert links == ["#c2-1-1", "#c3-1-1", "#table-1"], "of verdicts to their cells, then to what is folded away"


def test_strings_of_records_are_text_and_never_markup() -> None:
    harmless = Parsed(the_page([a_record()], problems=["a"], failures=["b"], folder="c"))
    hostile = Parsed(the_page([a_hostile_record()], problems=[HOSTILE[0]], failures=[HOSTILE[1]], folder=HOSTILE[2]))
    kinds = [tag for tag, _ in harmless.elements if tag not in ("li", "ul", "wbr")]
    assert [tag for tag, _ in hostile.elements if tag not in ("li", "ul", "wbr")] == kinds
    assert {name for _, attributes in hostile.elements for name in attributes if name.startswith("on")} == set()
    assert all(string in hostile.text for string in HOSTILE[:4])
    assert hostile.data["pool"][hostile.data["groups"][0]["runs"][0]["said"]] == [*HOSTILE, *HOSTILE]
    assert hostile.data["groups"][0]["task"] == HOSTILE[1]
    assert "alert" not in hostile.scripts[0]
    assert re.fullmatch(r"[\w+/]+=*", hostile.scripts[-1], re.ASCII)


def test_nothing_is_loaded_from_anywhere() -> None:
    trained = [a_record(0.5, a_run(seed=seed), curve=((0, 2.0), (5, 1.0 + seed))) for seed in range(2)]
    text = report.html(trained, [Path("results")])
    parsed = Parsed(text)
    assert not re.search(r"https?:|url\((?!#f\d)|@import|\bfetch\b|XMLHttpRequest|innerHTML", text)
    loaded = [value for _, element in parsed.elements for name in ("src", "href") if (value := element.get(name))]
    assert [value[:5] for value in loaded if not value.startswith("#")] == ["data:"]
    assert ("http-equiv", "Content-Security-Policy") in {
        item for _, element in parsed.elements for item in element.items()
    }
    assert "content=\"default-src 'none';" in text
    assert next(element["aria-label"] for tag, element in parsed.elements if tag == "figure")


def test_the_same_records_make_the_same_page() -> None:
    records = [*a_study(), a_record(0.5, a_run(task="other"), curve=((0, 2.0), (5, 1.0)))]
    assert report.html(records, [Path("results")]) == report.html(records, [Path("results")])


def a_store(folder: Path) -> Store:
    """With a record, a failed run and a damaged file."""
    store = Store(folder)
    store.save(a_record(), PREDICTIONS)
    store.save_failure(a_run(seed=1), ValueError("no <b>luck</b>"))
    (folder / "runs" / "colours" / "toy" / "damaged.json").write_text("{", encoding="utf-8")
    return store


def test_the_command_writes_it_with_failures_and_damaged_files_and_no_path_of_this_machine(
    tmp_path: Path, capsys
) -> None:
    store = a_store(tmp_path / "study")
    command = ["report", "--results", str(store.folder), "--format", "html"]
    assert app.main(command) == 1
    file = store.folder / "report.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"1 records reported in {file}"
    assert app.main([*command, "-o", str(tmp_path / "x.html")]) == 1
    text = file.read_text(encoding="utf-8")
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == text
    parsed = Parsed(text)
    assert "toy on colours, fewshot, seed 1: ValueError: no <b>luck</b>" in parsed.text
    assert "runs/colours/toy/damaged.json: not a whole record" in parsed.text
    assert str(tmp_path) not in text and str(Path.home()) + "/" not in text
    assert re.search(r"<h1>toy on colours</h1>", text)
    assert app.main([*command, "-o", str(file / "below")]) == 1
    assert "name another file" in capsys.readouterr().err


def test_without_a_record_the_page_says_how_to_make_one_and_what_failed(tmp_path: Path, capsys) -> None:
    Store(tmp_path).save_failure(a_run(), ValueError("no luck"))
    assert app.main(["report", "--results", str(tmp_path), "--format", "html"]) == 1
    assert "no records in" in capsys.readouterr().err
    text = Parsed((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "No results yet" in text and "mixer-bench run --task clipart" in text
    assert "ValueError: no luck" in text


def test_a_figure_in_the_page_has_no_style_text_or_id_of_others() -> None:
    from mixer_bench.report.figures import draw
    from mixer_bench.report.formats.inline import inline

    curve = ((0, 2.0), (5, 1.0))
    records = [a_record(0.5, a_run(model=name, weights=name), curve=curve) for name in (HOSTILE[0], "mixer_nano")]
    (plot,) = plots_of(records, "loss")
    svg = draw.rendered(plot, ["svg"])["svg"].decode()
    one, two = (inline(svg, number) for number in (1, 2))
    ElementTree.fromstring(one.replace("<svg", '<svg xmlns:xlink="x"', 1))  # quotes and elements end where they should
    ids = [set(re.findall(r' id="([^"]*)"', text)) for text in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    assert {name[:3] for name in ids[0]} == {"f1-"}
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', one)) == ids[0]
    assert not re.search(r"<style|<!--|<script|alert|xmlns|#222222|=\"#[0-9a-f]{6}\"", one)
    assert "light-dark(" not in one.replace("light-dark(#0072b2", ""), "colours that are seen in the dark stay"


def test_a_failure_that_cannot_be_read_is_still_named(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "x.failed.json"
    file.parent.mkdir()
    file.write_text("[]", encoding="utf-8")
    text = report.html([a_record()], [tmp_path], (), [file])
    assert "runs/x.failed.json: the reason cannot be read" in text


def test_a_run_says_that_its_solver_did_not_converge() -> None:
    data = Parsed(the_page([a_record(converged=False)])).data
    assert data["pool"][data["groups"][0]["runs"][0]["said"]] == ["the solver did not converge"]


def options_of(command: str) -> dict[str, list[str]]:
    words = shlex.split(command)
    assert words[:2] == ["mixer-bench", "run"]
    options: dict[str, list[str]] = defaultdict(list)
    for flag, value in zip(words[2::2], words[3::2], strict=True):
        options[flag].append(value)
    return options


def settings_to_try() -> list[Any]:
    """Every protocol's defaults, and what each preset says of each kind of task."""
    pairs = itertools.product(presets.presets().items(), ("vtab/pets", "vtab/svhn", "cifar10", "clipart"))
    return [pytest.param(name, {}, id=name) for name in protocols.names()] + [
        pytest.param("finetune", preset.of(task.tasks()[chosen], 1000), id=f"finetune {name} {chosen}")
        for (name, preset), chosen in pairs
    ]


@pytest.mark.parametrize(("protocol", "values"), settings_to_try())
def test_the_command_line_sets_what_was_set(protocol: str, values: dict[str, Any]) -> None:
    config = protocols.configure(protocol, values)
    run = a_run(task="clipart", protocol=protocol, config=config.model_dump(mode="json"))
    given = options_of(details.command(run, 3))
    told = schema.pairs(given.pop("--set", []))
    if protocol == "finetune":  # as a run without a preset would have it
        told = {**protocols.get(protocol).defaults(None, task.tasks()["clipart"], 1000), **told}
    assert protocols.configure(protocol, told) == config
    expected = {"--task": ["clipart"], "--model": ["toy"], "--protocol": [protocol]}
    assert given == {**expected, "--seeds": ["3"], "--resolution": ["8"], "--precision": ["fp32"]}


def test_the_command_line_is_quoted_and_says_what_it_lacks() -> None:
    run = a_run(model="file:my weights.pth?arch=mixer_b16&classes=10", task="it's; rm -rf ~", limit=7)
    given = options_of(details.command(run, 1))
    assert (given["--model"], given["--task"], given["--limit"]) == ([run.model], [run.task], ["7"])
    assert "--task" in details.incomplete(run)
    assert "--model" in details.incomplete(run)
    assert details.incomplete(a_run(model="mixer_nano", task="clipart")) == ""


def test_reported_runs_are_done_when_run_again(tmp_path: Path) -> None:
    arguments = ["run", "--task", "digits", "--model", "pixels", "--protocol", "fewshot,knn", "--shots", "1,2"]
    assert app.main([*arguments, "--seeds", "2", "--output-dir", str(tmp_path)]) == 0
    store = Store(tmp_path)
    before, _ = store.records()
    for group in details.of(before).values["groups"]:
        again = shlex.split(group["command"])[1:]
        assert app.main([*again, "--output-dir", str(tmp_path)]) == 0
    after, _ = store.records()
    assert [r.created for r in after] == [r.created for r in before]


def many_records(count: int) -> list[Record]:
    """Of 20 tasks, as many models as it takes, 4 shots and 5 seeds."""
    records = []
    cells = itertools.product(range(count), range(20), range(1, 5), range(5))
    for number, (model, place, shots, seed) in enumerate(itertools.islice(cells, count)):
        names = {"model": f"model_{model}", "weights": f"{model:064d}", "task": f"task_{place}"}
        selection = Selection.best("l2", (1.0, 32.0, 1024.0), (0.1, 0.2 + number / 1e6, 0.15), 500)
        run = a_run(**names, seed=seed, config={"shots": shots})
        records.append(a_record(0.2 + (number % 700) / 1000, run, selection=selection))
    return records


def test_a_page_of_many_records_is_small() -> None:
    assert len(the_page(many_records(2000))) < 2000 * 800
