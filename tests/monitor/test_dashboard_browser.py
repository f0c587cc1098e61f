"""The dashboard in a real Chromium: light, dark, phone, print; readable, labelled, and without a script."""

from __future__ import annotations

import base64
import os
import re
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from browser import DARK, LIGHT, console, needs_chromium, probed, run

from fraudctl.monitor.dashboard import dashboard
from fraudctl.report.render import dashboard_report

from .conftest import project_of

pytestmark = needs_chromium
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def page(decisions: pl.DataFrame, as_of: datetime) -> str:
    return dashboard_report(dashboard(decisions, project_of(), as_of, by="channel"))


ACCESSIBLE = """
const out = {}, say = e => (e.id || e.className || e.tagName) + ": " + e.textContent.trim().slice(0, 40);
document.querySelectorAll("details").forEach(d => d.open = true);
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const linear = x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
const light = c => { const v = c.slice(0, 3).map(x => linear(x / 255));
  return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const paper = e => { for (let n = e; n; n = n.parentElement) { const c = rgb(getComputedStyle(n).backgroundColor);
  if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
out.faint = [];
for (const e of document.querySelectorAll("body *")) {
  if (e.id === "probe" || e.tagName === "SCRIPT" || e.tagName === "DESC" || e.tagName === "desc") continue;
  const own = Array.from(e.childNodes).some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const colour = e.ownerSVGElement ? rgb(style.fill) : rgb(style.color);
  const large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700);
  if (ratio(colour, paper(e)) < (large ? 3 : 4.5)) out.faint.push(say(e) + " " + ratio(colour, paper(e)).toFixed(2));
}
out.unnamed = Array.from(document.querySelectorAll("svg")).filter(s => s.getAttribute("role") !== "img"
  || !(document.getElementById(s.getAttribute("aria-labelledby")) || {textContent: ""}).textContent.trim()).length;
out.tables = Array.from(document.querySelectorAll("table")).filter(t => !t.caption || !t.tHead
  || Array.from(t.tHead.rows[0].cells).some(c => c.scope !== "col")).length;
const ids = Array.from(document.querySelectorAll("[id]")).map(e => e.id);
out.twice = ids.filter((id, at) => ids.indexOf(id) !== at);
const levels = Array.from(document.querySelectorAll("h1,h2,h3,h4")).map(h => Number(h.tagName[1]));
out.headings = levels[0] === 1 && levels.filter(l => l === 1).length === 1
  && levels.every((l, at) => at === 0 || l <= levels[at - 1] + 1);
out.lang = document.documentElement.lang; out.main = document.querySelectorAll("main").length;
out.links = Array.from(document.querySelectorAll("a")).filter(a => !a.textContent.trim()).length;
out.small = Array.from(document.querySelectorAll("svg text")).filter(t => t.getClientRects().length
  && t.getBoundingClientRect().height < 8).length;
out.wide = document.documentElement.scrollWidth > innerWidth;
const shown = kind => Array.from(document.querySelectorAll(kind)).filter(s => getComputedStyle(s).display !== "none");
out.full = shown("svg.full").length; out.narrow = shown("svg.narrow").length;
out.hatched = document.querySelectorAll('[fill^="url(#"]').length;
document.getElementById("probe").textContent = JSON.stringify(out);
"""


@pytest.mark.parametrize(
    ("scheme", "size", "phone"), [(LIGHT, "1200,900", False), (DARK, "1200,900", False), (LIGHT, "500,900", True)]
)
def test_it_is_readable_and_labelled(page: str, scheme: str, size: str, phone: bool, tmp_path: Path) -> None:
    found = probed(page, ACCESSIBLE, tmp_path, scheme, f"--window-size={size}")
    assert found["faint"] == []
    assert (found["unnamed"], found["tables"], found["twice"], found["links"]) == (0, 0, [], 0)
    assert (found["headings"], found["lang"], found["main"]) == (True, "en", 1)
    assert (found["small"], found["wide"]) == (0, False)
    assert (found["full"] > 0, found["narrow"] > 0) == (not phone, phone)
    assert found["hatched"] > 0


def test_what_is_faint_or_unlabelled_would_have_been_seen(page: str, tmp_path: Path) -> None:
    worse = page.replace("</style>", ".sub { color: #b0aeaa } </style>").replace('scope="col"', "")
    found = probed(worse.replace(' role="img"', ""), ACCESSIBLE, tmp_path, LIGHT, "--window-size=1200,900")
    assert len(found["faint"]) >= 2
    assert found["tables"] > 3
    assert found["unnamed"] > 3


def test_it_asks_for_nothing_and_needs_no_script(page: str, tmp_path: Path) -> None:
    _, log = run(page, tmp_path)
    assert console(log) == []
    bare = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    script = (
        'document.getElementById("probe").textContent = JSON.stringify(document.querySelector("h1").offsetHeight > 0)'
    )
    assert probed(bare, script, tmp_path)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []


def test_tables_can_be_saved(page: str) -> None:
    links = dict(re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page))
    assert {"loss.csv", "quality.csv", "customers.csv", "actions.csv", "maturity.csv", "groups.csv"} <= links.keys()
    text = base64.b64decode(links["loss.csv"]).decode()
    assert text.splitlines()[0].startswith("From,Status,Matured,Missed,")
    assert len(text.splitlines()) == 21


def test_it_can_be_printed(page: str, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    run(page, tmp_path, dump=f"--print-to-pdf={paper}")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 16


AXE = next(
    (
        path
        for path in (Path(os.environ.get("AXE_CORE", "/nowhere")), ROOT / "node_modules" / "axe-core" / "axe.min.js")
        if path.is_file()
    ),
    None,
)
"""The script of axe-core, from the npm registry: `npm install --no-save axe-core@4` in the project's folder."""
RULES = """
axe.run({exclude: [["#probe"]]}, {resultTypes: ["violations"]}).then(found => {
  document.getElementById("probe").textContent = JSON.stringify({passed: found.passes.length,
    broken: found.violations.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.target.join(" ")).join(", "))});
}).catch(e => { document.getElementById("probe").textContent = JSON.stringify({broken: [String(e)], passed: 0}); });
"""


@pytest.mark.skipif(
    AXE is None, reason="no axe-core: npm install --no-save axe-core@4, or AXE_CORE names its axe.min.js"
)
@pytest.mark.parametrize(("scheme", "size"), [(LIGHT, "1200,900"), (DARK, "1200,900"), (LIGHT, "500,900")])
def test_axe_core_finds_nothing_that_keeps_somebody_out(page: str, tmp_path: Path, scheme: str, size: str) -> None:
    assert AXE is not None
    script = AXE.read_text(encoding="utf-8").replace("</script>", "<\\/script>") + ";" + RULES
    opened = page.replace("<details", "<details open")
    found = probed(opened, script, tmp_path, scheme, f"--window-size={size}", "--virtual-time-budget=120000")
    assert found["broken"] == []
    assert found["passed"] > 20
