"""The HTML page as a person uses it: clicks, keys, the clipboard, attacks, in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixer_bench.report import report
from mixer_bench.report.cells import cell_of
from mixer_bench.report.formats import html
from mixer_bench.report.formats import text as render
from mixer_bench.report.models import About
from mixer_bench.report.tables import table
from mixer_bench.report.verdict import verdicts
from mixer_bench.results.record import Record
from tests.browser import Browser, Page, installed
from tests.builders import a_record, a_run, tables_of
from tests.report.test_models import measured, profiled
from tests.report.test_page import HOSTILE, a_hostile_record, many_records, the_page
from tests.report.test_report import a_study

CHROMIUM = installed()
pytestmark = pytest.mark.skipif(CHROMIUM is None or os.name != "posix", reason="no Chromium to look at the page with")
MODELS = "[...document.querySelectorAll('#table-1 tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].textContent)"
BODY = "document.getElementById('record-body').textContent"
HEADER = "document.querySelectorAll('#table-1 thead button')[{}]"
CELL = "document.querySelector('#table-1 td[data-groups] button')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(str(CHROMIUM), tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """Whatever a test does, the page asks for nothing and complains of nothing."""
    with browser.page() as opened:
        yield opened
        assert {url.split(":")[0] for url in opened.requested} <= {"file", "data"}
        assert len([url for url in opened.requested if url.startswith("file:")]) == opened.visits
        assert opened.complaints == []


def show(tab: Page, folder: Path, text: str, fragment: str = "") -> None:
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    tab.open(file, fragment)


def three_columns() -> list[Record]:
    """Numbers that sort otherwise as text, and a model without one of them."""
    values = {"alpha": (0.5, 0.09), "beta": (0.101, None), "gamma": (0.095, 0.7)}
    return [
        a_record(value, a_run(model=model, weights=model * 8, config={"shots": shots, "l2": [1024.0]}))
        for model, both in values.items()
        for shots, value in zip((1, 5), both, strict=True)
        if value is not None
    ]


def test_a_header_sorts_numbers_as_numbers_with_missing_last(tab: Page, tmp_path: Path) -> None:
    show(tab, tmp_path, the_page(three_columns()))
    aria = "[...document.querySelectorAll('#table-1 th[scope=col]')].slice(1, 3).map(h => h.getAttribute('aria-sort'))"
    tab.expect(MODELS, ["alpha", "beta", "gamma"])
    for header, order, sorted_by in [
        (1, "alpha beta gamma", ["descending", None]),
        (1, "gamma beta alpha", ["ascending", None]),
        (2, "gamma alpha beta", [None, "descending"]),
        (2, "alpha gamma beta", [None, "ascending"]),
        (2, "alpha beta gamma", [None, None]),
    ]:
        tab.click(HEADER.format(header))
        tab.expect(MODELS, order.split())
        tab.expect(aria, sorted_by)


def test_the_keyboard_sorts_and_opens_and_closes(tab: Page, tmp_path: Path) -> None:
    show(tab, tmp_path, the_page(three_columns()))
    tab.run(f"{HEADER.format(0)}.focus()")
    for _ in range(2):
        tab.key("Enter", 13)
    tab.expect(MODELS, ["gamma", "beta", "alpha"])
    tab.run(f"{CELL}.focus()")
    tab.key("Enter", 13)
    tab.until("document.getElementById('record').open")
    tab.key("Escape", 27)
    tab.until("!document.getElementById('record').open")
    tab.until(f"document.activeElement === {CELL}")


def test_typing_hides_other_models(tab: Page, tmp_path: Path) -> None:
    show(tab, tmp_path, the_page(three_columns()))
    tab.click("document.getElementById('filter')")
    tab.type("ALP, gam ma")
    tab.expect(MODELS, ["alpha", "gamma"])
    tab.expect("document.getElementById('shown').textContent", "2 of 3 shown")


def test_a_cell_opens_its_runs(tab: Page, tmp_path: Path) -> None:
    study = a_study()
    show(tab, tmp_path, the_page(study))
    tab.click(CELL)
    tab.expect("document.getElementById('record-title').textContent", "mixer_nano · colours · 1-shot")
    shown = tab.run(BODY)
    behind = [r for r in study if r.run.model == "mixer_nano" and r.run.config.get("shots") == 1]
    assert len(behind) == 3
    for record in behind:
        assert record.run.key in shown
    assert "mixer-bench run --task colours --model mixer_nano --protocol fewshot --set shots=1" in shown
    assert "a processor" in shown
    assert tab.run("location.hash") == f"#{behind[0].run.key}"
    tab.click("document.getElementById('close')")
    tab.until("location.hash === ''")


def test_a_link_to_a_key_opens_its_runs(tab: Page, tmp_path: Path) -> None:
    study = a_study()
    show(tab, tmp_path, the_page(study), f"#{study[4].run.key}")
    tab.until("document.getElementById('record').open")
    assert study[4].run.key in tab.run(BODY)


def test_a_mean_opens_the_runs_of_each_task(tab: Page, tmp_path: Path) -> None:
    records = [a_record(0.5, a_run(task=name, seed=seed)) for name in ("one", "two") for seed in range(2)]
    (alone,) = tables_of(records[:2])
    cell = cell_of(records, "top1")
    row = table.Row("toy", {"all": cell}, (None,), "none")
    mean = table.Table(table.MEANS, alone.measured_on, "Mean", ("all",), (row,), (), ("img/s",))
    show(tab, tmp_path, html.write([mean], verdicts([mean]), [], records))
    tab.click(CELL)
    assert "two: 50.00 %, seeds 0, 1" in tab.run(BODY)
    assert records[3].run.key not in tab.run(BODY)
    tab.click("document.querySelectorAll('#record-body summary')[1]")
    tab.until(f"{BODY}.includes('{records[3].run.key}')")


@pytest.mark.parametrize("name", ["Markdown", "CSV"])
def test_a_table_is_copied(tab: Page, tmp_path: Path, name: str) -> None:
    study = a_study()
    show(tab, tmp_path, the_page(study))
    tab.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab.call("Page.bringToFront")
    tab.click(f"document.querySelector('[data-copy={name}]')")
    tab.until(f"document.getElementById('said').textContent === '{name} copied'")
    tab.expect("navigator.clipboard.readText()", html.COPIES[name](tables_of(study)))


def test_where_the_clipboard_is_refused_the_old_way_or_the_text_itself(tab: Page, tmp_path: Path) -> None:
    study = a_study()
    show(tab, tmp_path, the_page(study))
    expected = render.markdown(tables_of(study))
    tab.run("navigator.clipboard.writeText = async () => { throw new Error('refused'); }")
    tab.run(
        "document.execCommand = (what) => { window.copied = [what, document.activeElement.value]; return window.old; }"
    )
    tab.run("window.old = true")
    tab.click("document.querySelector('[data-copy]')")
    tab.until("document.getElementById('said').textContent === 'Markdown copied'")
    tab.expect("window.copied", ["copy", expected])
    tab.expect("document.querySelector('textarea')", None)
    tab.run("window.old = false")
    tab.click("document.querySelector('[data-copy]')")
    tab.until("document.querySelector('#record[open] textarea') !== null")
    tab.expect("document.querySelector('textarea').value", expected)


def test_attacks_are_shown_and_never_run(tab: Page, tmp_path: Path) -> None:
    other = a_record(0.4, a_run(model="second", weights="2" * 64, task=HOSTILE[1]))
    text = the_page([a_hostile_record(), other], problems=[*HOSTILE], failures=[*HOSTILE], folder=HOSTILE[2])
    tab.call("Page.enable")
    tab.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="window.attacked = 0; window.alert = () => { attacked++; };",
    )
    show(tab, tmp_path, text)
    elements = tab.run("document.images.length + document.scripts.length")
    tab.click(CELL)
    tab.run("new Promise((done) => setTimeout(done, 200))")
    tab.expect("window.attacked", 0)
    assert tab.run("document.images.length + document.scripts.length") == elements == 2
    shown, body = tab.run("document.body.innerText"), tab.run(BODY)
    for string in HOSTILE[:4]:
        assert string in body
        assert string in shown
    tab.expect("document.querySelector('h1').textContent", f"{HOSTILE[0]} and second on {HOSTILE[1]}")


def test_the_policy_of_the_page_forbids_requests(browser: Browser, tmp_path: Path) -> None:
    """Were an attack to become markup after all, it could not fetch or send anything."""
    with browser.page() as tab:
        show(tab, tmp_path, the_page(a_study()))
        said = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)"
        tab.expect(said, "TypeError")
        tab.run("document.addEventListener('securitypolicyviolation', () => { window.violated = true; })")
        tab.run("(() => { const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i); })()")
        tab.until("window.violated === true")
        refused = [e["params"] for e in tab.events if e["method"] == "Network.loadingFailed"]
        assert {failure.get("blockedReason") for failure in refused} == {"csp"}


def test_the_theme_follows_the_system_until_chosen_and_is_kept(tab: Page, tmp_path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    show(tab, tmp_path, the_page(a_study()))
    light, dark = "rgb(255, 255, 255)", "rgb(22, 24, 28)"
    tab.expect(ground, light)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.expect(ground, dark)
    tab.click("document.getElementById('theme')")
    tab.expect(ground, light)
    kept = tab.run("Object.entries(localStorage)")
    assert [theme for _, theme in kept] == ["light"]
    # Chromium stores in its own time, and a page opened before that does not see it: what it keeps is put there.
    stored = f"for (const [key, value] of {json.dumps(kept)}) localStorage.setItem(key, value);"
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=stored)
    tab.open(tmp_path / "report.html")
    tab.expect(ground, light)
    tab.run("localStorage.clear()")


def test_without_storage_the_theme_can_still_be_chosen(tab: Page, tmp_path: Path) -> None:
    tab.call("Page.enable")
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=refuse)
    show(tab, tmp_path, the_page(a_study()))
    tab.click("document.getElementById('theme')")
    tab.until("['light', 'dark'].includes(document.documentElement.dataset.theme)")


def test_without_script_tables_and_figures_are_read(tab: Page, tmp_path: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    trained = [*a_study(), a_record(0.5, a_run(task="other"), curve=((0, 2.0), (5, 1.0)))]
    show(tab, tmp_path, report.html(trained, [tmp_path]))
    visible: Any = tab.run("document.body.innerText")
    assert "Sorting, filtering" in visible
    assert "random:mixer_nano" in visible
    tab.until("[...document.querySelectorAll('button, input')].every((e) => e.closest('[hidden], dialog'))")
    tab.until("document.querySelector('figure svg').getBoundingClientRect().width > 100")


def test_on_a_phone_tables_scroll_in_their_own_box(tab: Page, tmp_path: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=375, height=800, deviceScaleFactor=2, mobile=True)
    long = a_record(0.5, a_run(model="timm:" + "a_model_with_a_long_name_" * 4, weights="9" * 64))
    show(tab, tmp_path, the_page([*a_study(), long]))
    tab.expect("document.documentElement.scrollWidth", 375)
    box = "document.querySelector('#table-1 .scroll')"
    tab.until(f"{box}.scrollWidth > {box}.clientWidth")
    tab.run(f"{box}.scrollLeft = 200")
    left = "document.querySelector('#table-1 tbody th').getBoundingClientRect()"
    assert tab.run(f"{left}.left - {box}.getBoundingClientRect().left") < 3
    assert tab.run(f"{left}.width") < 0.6 * 375
    tab.click(CELL)
    tab.until("document.getElementById('record').scrollWidth <= 375")
    tab.expect("document.documentElement.scrollWidth", 375)


def test_a_claim_of_the_verdict_leads_to_its_cell_and_a_link_unfolds(tab: Page, tmp_path: Path) -> None:
    records = [*three_columns(), *(r.model_copy(update={"run": a_run(limit=9, model=r.run.model)}) for r in a_study())]
    show(tab, tmp_path, the_page(records))
    tab.click("document.querySelector('.verdict a')")
    tab.until("document.querySelector('td:target') !== null")
    (told, *_) = tab.run("[...document.querySelectorAll('.verdict a')].map(a => a.textContent)")
    cell = tab.run("document.querySelector('td:target').textContent")
    assert told.split("(")[1].split()[0] == cell.split()[0]
    assert tab.run("document.querySelector('details.fold').open") is False
    tab.run("location.hash = document.querySelector('nav a').hash")
    tab.until("document.querySelector('details.fold').open")


def test_no_column_is_cut_at_a_desktops_width_and_a_phone_hints_at_more(tab: Page, tmp_path: Path) -> None:
    models = ("mixer_nano", "vit_nano", "random:mixer_nano", "random:vit_nano")
    shots = (1, 5, 10, 25, 50)
    records = [measured(model).run.model_copy(update={"config": {"shots": k}}) for model in models for k in shots]
    records = [measured(run.model).model_copy(update={"run": run}) for run in records]
    profiles = [profiled(model, 1000.0) for model in models[:2]]
    tab.call("Emulation.setDeviceMetricsOverride", width=1440, height=900, deviceScaleFactor=1, mobile=False)
    built = tables_of(records, About(profiles=profiles))
    show(tab, tmp_path, html.write(built, verdicts(built), [], records))
    box = "document.querySelector('.scroll')"
    heads = tab.run("document.querySelectorAll('#table-1 th[scope=col]').length")
    assert heads == 1 + len(shots) + 4 + 1
    tab.until(f"{box}.scrollWidth <= {box}.clientWidth")
    tab.expect("document.querySelectorAll('.box.more').length", 0)
    tab.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=2, mobile=True)
    tab.until("document.querySelectorAll('.box.more').length > 0")
    tab.run(f"{box}.scrollLeft = 10000")
    tab.expect("document.querySelector('.box').classList.contains('more')", False)


def test_figures_follow_the_theme(tab: Page, tmp_path: Path) -> None:
    trained = [a_record(0.5, a_run(seed=seed), curve=((0, 2.0), (5, 1.0))) for seed in range(2)]
    tab.call("Page.enable")
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="localStorage.clear()")  # of what others chose
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    show(tab, tmp_path, report.html(trained, [tmp_path]))
    tab.run("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    tab.expect("getComputedStyle(document.querySelector('figure svg path')).fill", "rgb(22, 24, 28)")
    glyph = "getComputedStyle(document.querySelector('figure svg use')).fill"
    tab.expect(glyph, "rgb(228, 230, 234)")
    tab.click("document.getElementById('theme')")
    tab.expect(glyph, "rgb(28, 30, 33)")
    tab.run("localStorage.clear()")


def test_thousands_of_records_can_be_filtered_sorted_and_opened(tab: Page, tmp_path: Path) -> None:
    show(tab, tmp_path, the_page(many_records(2000)))
    tab.click("document.getElementById('filter')")
    tab.type("model_1")
    tab.until(f"{MODELS}.every((name) => name.includes('model_1'))")
    tab.click(HEADER.format(1))
    tab.expect("document.querySelectorAll('#table-1 th[scope=col]')[1].getAttribute('aria-sort')", "descending")
    tab.click(CELL.replace("td[", "tbody tr:not([hidden]) td["))
    tab.until("document.getElementById('record').open")
