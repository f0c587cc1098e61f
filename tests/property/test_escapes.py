"""Whatever text data hold, every format gives it back as text, and no terminal obeys it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tomllib
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from fraudctl.cli.console import SafeConsole
from fraudctl.cli.render import plain_table
from fraudctl.cli.session import to_json
from fraudctl.project.toml import key, quoted
from fraudctl.report import charts
from fraudctl.report.document import Cell, Chart, Document, ReportSection, ReportTable, TableColumn, shown
from fraudctl.report.escape import github, github_property, markdown, xml
from fraudctl.report.html import render_html
from fraudctl.report.markdown import render_markdown
from fraudctl.report.terminal import render_terminal
from fraudctl.text.plain import HIDDEN, visible, visible_json

HOSTILE = (
    "![x](https://t.example/p.png) [pay](https://t.example) @team #12 GH-3 www.t.example :smile: $x$",
    "<script>alert(1)</script> &amp; <!-- a --> <https://t.example>",
    "::error title=x::y %0A ##[error] a\r\n::warning::b",
    "\x1b[31mred\x1b[0m \x9b2J \x07 \x00 \ufffe \u202egnp.exe\u2066 \u2028line\u2029 \x85 \r",
    "- a", "1. b", "12) c", "+ d", "= e", "# f", "> g", "    h", "```", "~~~", "~~i~~", "***", "_j_", "__0__",
    "k|l\\|m", "\\", "[bold]n[/bold] [link=https://t.example]o[/link] :boom:", "]]>", "a\n\nb", "| a | b |\n|---|---|",
    "[p]: q", "r\\",
)  # fmt: skip
TEXTS = (
    st.text(st.characters(), max_size=40)
    | st.sampled_from(HOSTILE)
    | st.text("\\`*_[]()<>&|#@:-+!~$.\n\t 1aw/", max_size=12)
)
SAFE = {"text", "text_special", "softbreak"}


def inline(tokens: list[Token]) -> str:
    """Return the text of inline tokens, and refuse all that is more than text."""
    assert {item.type for item in tokens} <= SAFE, [item.type for item in tokens]
    return "".join(item.content for item in tokens).replace("\u200b", "")


def parsed(source: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)


def every_example(test):  # type: ignore[no-untyped-def]
    for text in HOSTILE:
        test = example(text)(test)
    return test


@every_example
@given(TEXTS)
def test_markdown_paragraphs_and_cells_give_the_text_back(text: str) -> None:
    expected, escaped = visible(text, lines=True), markdown(text)
    assert "\n" not in escaped
    if not escaped:
        return
    tokens = parsed(escaped)
    assert [item.type for item in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert inline(tokens[1].children or []) == expected
    tokens = parsed(f"| a | b |\n|---|---|\n| {escaped} | c |\n")
    cells = [inline(item.children or []) for item in tokens if item.type == "inline"]
    assert cells == ["a", "b", expected, "c"]


@every_example
@given(TEXTS)
def test_github_reads_no_mention_reference_or_address(text: str) -> None:
    escaped = markdown(text)
    assert not re.search(
        r"@\w|#\w|(?i:\bgh-)\d|(?i:www)\.|(?<!\\)://|:[a-z0-9_+-]+:|!\[|(?<!\\)\]\(", escaped.replace("&#", "&")
    )


@every_example
@given(TEXTS)
def test_a_workflow_command_is_one_line_and_gives_the_text_back(text: str) -> None:
    line = f"::error title={github_property(text)}::{github(text)}"
    assert len(re.split("[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", line)) == 1
    properties, _, message = line.removeprefix("::error title=").partition("::")
    assert "," not in properties
    assert ":" not in properties
    for value in (properties.replace("%3A", ":").replace("%2C", ","), message):
        assert value.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") == visible(text, lines=True)


@every_example
@given(TEXTS)
def test_xml_gives_the_text_back(text: str) -> None:
    root = ET.Element("testcase", {"name": xml(text)})
    root.text = xml(text)
    again = ET.fromstring(ET.tostring(root, encoding="unicode"))  # noqa: S314
    assert (again.get("name"), again.text or "") == (visible(text, lines=True), visible(text, lines=True))


@every_example
@given(TEXTS)
def test_toml_gives_the_text_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    source = f"{key(text)} = {quoted(text)}  # {visible(text)}"
    assert tomllib.loads(source) == {text: text}
    assert not HIDDEN.search(source)


@every_example
@given(TEXTS)
def test_json_is_the_same_document_and_moves_no_terminal(text: str) -> None:
    document = {text: [text, {"a": text}]}
    out = to_json(document)
    assert json.loads(out) == document
    assert not HIDDEN.search(out.replace("\n", ""))
    assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text


@every_example
@given(TEXTS)
def test_no_terminal_obeys_a_text(text: str) -> None:
    file = io.StringIO()
    console = SafeConsole(file)
    console.width = 1000  # whatever COLUMNS says where the tests run
    console.print(text, soft_wrap=True)
    assert not HIDDEN.search(file.getvalue().replace("\n", ""))
    file.truncate(0)
    file.seek(0)
    console.print(plain_table(text, (text, "b"), [(text, "x")]))
    lines = file.getvalue().splitlines()
    assert not HIDDEN.search("".join(lines))
    if len(visible(text)) < 100 and visible(text).isascii() and visible(text).strip():
        assert len(lines) == 3, "a name forges no row"
        assert visible(text).strip() in lines[2]


@settings(max_examples=20)
@every_example
@given(TEXTS)
def test_a_whole_report_shows_the_text_and_nothing_it_says(text: str) -> None:
    table = ReportTable("t", text, (TableColumn(text), TableColumn("b")), ((Cell(text), Cell("", lines=(text, text))),))
    document = Document(
        text, (text,), (), (ReportSection("s", text, text, (table,)),), findings=((text, text, "plain"),)
    )
    html = render_html(document)
    assert not HIDDEN.search(html.replace("\n", ""))
    without = render_html(Document("x", ("x",), (), (ReportSection("s", "x", "x", (table,)),), findings=()))
    assert html.count("<script") == without.count("<script") == 1
    assert "<img" not in html
    source = render_markdown(document)
    assert not HIDDEN.search(source.replace("\n", ""))
    kinds = {item.type for token in parsed(source) for item in token.children or []}
    assert kinds <= {*SAFE, "strong_open", "strong_close"}
    file = io.StringIO()
    SafeConsole(file).print(render_terminal(document))
    assert not HIDDEN.search(file.getvalue().replace("\n", ""))


def drawn(text: str) -> Chart:
    """A chart with a text as category, title and field."""
    rows = [{"v": 1, "n": text}, {"v": 2, "n": "c"}]
    layer = {"mark": "bar", "encoding": {"x": charts.field("v", title=text), "y": charts.field("n", "nominal")}}
    return Chart("c", text, charts.spec([layer], rows=rows), text)


DRAW = """
import json, sys
from xml.etree import ElementTree as ET
from fraudctl.report import charts
for line in sys.stdin:
    spec = json.loads(line)
    ET.fromstring(charts.to_svg(spec, name="c"))
    assert charts.to_png(spec)[:4] == b"\\x89PNG"
    print("drawn", flush=True)
"""


@pytest.fixture(scope="module")
def ends() -> dict[str, str]:
    """Draw a chart of each text in another process, and return how those ended that the process did not survive.

    What this is about ends the process with SIGABRT; the texts after such a one are drawn in a new process.
    """
    left, found = list(HOSTILE), {}
    while left:
        lines = "".join(json.dumps(dict(drawn(text).spec)) + "\n" for text in left)
        done = subprocess.run([sys.executable, "-c", DRAW], input=lines, capture_output=True, text=True, timeout=600)
        n_drawn = done.stdout.count("drawn\n")
        assert (done.returncode == 0) == (n_drawn == len(left)), done.stderr
        if n_drawn < len(left):
            found[left[n_drawn]] = f"exit code {done.returncode}: {done.stderr[-500:]}"
        left = left[n_drawn + 1 :]
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_charts_are_drawn_with_any_text(text: str, ends: dict[str, str]) -> None:
    assert text not in ends, ends[text]


@given(TEXTS)
def test_what_is_shown_stays_as_it_is(text: str) -> None:
    once = shown(drawn(text))
    assert shown(once) == once
    assert not HIDDEN.search(json.dumps(once.spec, ensure_ascii=False))
    assert visible(visible(text)) == visible(text)
