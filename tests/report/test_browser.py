"""Pages in a real headless Chromium: quiet, offline, and sorting and filtering work."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import console, needs_chromium, probed, run

from fraudctl.evaluate.result import Evaluation
from fraudctl.explain.result import Explanation
from fraudctl.report.document import Document
from fraudctl.report.html import render_html
from fraudctl.report.render import evaluation_report, explanation_report

pytestmark = needs_chromium

PROBE = """
const table = document.querySelector("table[data-tools]"), out = {};
const first = () => Array.from(table.tBodies[0].rows).map(r => r.cells[0].textContent.trim().split(" ").pop());
const heads = Array.from(table.tHead.rows[0].cells);
out.loaded = first();
heads[1].querySelector("button").click(); out.down = first(); out.downSort = heads[1].getAttribute("aria-sort");
heads[1].querySelector("button").click(); out.up = first(); out.upSort = heads[1].getAttribute("aria-sort");
heads[0].querySelector("button").click(); out.byName = first();
out.one = heads.filter(h => h.hasAttribute("aria-sort")).length;
const input = document.querySelector("input[data-for]");
input.value = "ALPHA"; input.dispatchEvent(new Event("input"));
out.filtered = Array.from(table.tBodies[0].rows).filter(r => !r.hidden).length;
out.count = document.getElementById(input.dataset.for + "-count").textContent;
input.value = ""; input.dispatchEvent(new Event("input"));
out.all = Array.from(table.tBodies[0].rows).filter(r => !r.hidden).length;
out.hacked = String(window.hacked); out.images = document.images.length;
document.getElementById("probe").textContent = JSON.stringify(out);
"""


@pytest.mark.parametrize("kind", ["document", "explanation", "evaluation"])
def test_pages_load_without_a_console_message_or_a_request(
    kind: str, document: Document, explanation: Explanation, evaluation: Evaluation, tmp_path: Path
) -> None:
    pages = {
        "document": lambda: render_html(document),
        "explanation": lambda: explanation_report(explanation),
        "evaluation": lambda: evaluation_report(evaluation),
    }
    page = pages[kind]()
    dom, log = run(page, tmp_path)
    assert console(log) == []  # a request would break the page's policy, and Chromium says so here
    assert 'class="no-js"' not in dom  # the script ran


def test_nothing_is_loaded_beside_the_file(explanation: Explanation, tmp_path: Path) -> None:
    script = 'document.getElementById("probe").textContent = JSON.stringify(performance.getEntriesByType("resource"))'
    assert probed(explanation_report(explanation), script, tmp_path) == []


def test_a_request_would_have_been_seen(document: Document, tmp_path: Path) -> None:
    page = render_html(document).replace("</body>", '<img src="https://example.invalid/x.png"></body>')
    assert any("Content Security Policy" in line for line in console(run(page, tmp_path)[1]))


def test_sorting_and_filtering_work_and_markup_stays_text(document: Document, tmp_path: Path) -> None:
    out = probed(render_html(document), PROBE, tmp_path)
    assert out["loaded"] == ["bravo", "alpha", "charlie"]
    assert (out["down"], out["downSort"]) == (["alpha", "bravo", "charlie"], "descending")
    assert (out["up"], out["upSort"]) == (["charlie", "bravo", "alpha"], "ascending")
    assert out["byName"] == ["alpha", "bravo", "charlie"]
    assert out["one"] == 1
    assert (out["filtered"], out["count"], out["all"]) == (1, "1 of 3 rows", 3)
    assert (out["hacked"], out["images"]) == ("undefined", 0)


def test_the_policy_of_the_page_stops_other_scripts(document: Document, tmp_path: Path) -> None:
    page = render_html(document).replace("</body>", "<script>document.title = 'taken over'</script></body>")
    dom, log = run(page, tmp_path)
    assert "<title>taken over</title>" not in dom
    assert console(log)


def test_dark_screens_get_other_colours(document: Document, tmp_path: Path) -> None:
    script = (
        "const c = e => getComputedStyle(e);"
        'document.getElementById("probe").textContent = JSON.stringify([c(document.body).backgroundColor,'
        'c(document.querySelector("figure svg text")).fill]);'
    )
    light, dark = (
        probed(render_html(document), script, tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
        for scheme in (1, 0)
    )
    assert light[0] != dark[0]
    assert light[1] != dark[1]


PHONE = """
const seen = e => getComputedStyle(e).display !== "none";
document.getElementById("probe").textContent = JSON.stringify({
  width: innerWidth,
  full: Array.from(document.querySelectorAll("svg.full")).filter(seen).length,
  narrow: Array.from(document.querySelectorAll("svg.narrow")).filter(seen).length,
  label: document.querySelector(".stack td").getAttribute("data-l"),
  heads: Array.from(document.querySelectorAll(".stack thead")).map(e => getComputedStyle(e).position),
  wide: document.documentElement.scrollWidth <= innerWidth,
});
"""


def test_a_phone_gets_charts_of_its_own_and_rows_as_cards(explanation: Explanation, tmp_path: Path) -> None:
    page = explanation_report(explanation)
    phone = probed(page, PHONE, tmp_path, "--window-size=500,900")
    desk = probed(page, PHONE, tmp_path, "--window-size=1200,900")
    assert (phone["full"], phone["narrow"]) == (0, desk["full"])
    assert (desk["narrow"], desk["full"] > 4) == (0, True)
    assert phone["label"]
    assert set(phone["heads"]) == {"absolute"}
    assert phone["wide"]
    assert desk["wide"]
