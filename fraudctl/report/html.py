"""A document as one HTML page that needs nothing else: no network, no second file.

Owns the shell, its stylesheet and the small script that sorts and filters tables. All text of a document is escaped;
the page's own policy (Content-Security-Policy) forbids every request and every script but its own. The same document
gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from fraudctl.report import charts
from fraudctl.report.document import Bar, Block, Chart, Document, Facts, ReportTable, Text, shown

_MACROS = {Text: "text", Facts: "facts", Bar: "bar", ReportTable: "table"}


def render_html(document: Document) -> str:
    """Render a document to the text of one self-contained HTML file."""
    from markupsafe import Markup

    document, environment = shown(document), _templates()
    macros: Any = environment.get_template("blocks.html.j2").module

    def render(kind: str, blocks: Sequence[Block]) -> Markup:
        html = Markup("").join(_render_block(macros, block) for block in blocks)
        return Markup('<div class="halves">\n') + html + Markup("</div>\n") if kind == "halves" else html

    script = _source(environment, "table.js").strip()
    text: str = environment.get_template("page.html.j2").render(
        doc=document,
        css=_own(_source(environment, "style.css").strip()),
        chart_css=_own(chart_css()),
        script=_own(script),
        script_hash=_hash_source(script),
        render=render,
    )
    return text if text.endswith("\n") else text + "\n"


@cache
def _templates() -> Any:
    """Return the templates of pages, which are compiled once in a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fraudctl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    environment.filters["grouped"] = grouped
    environment.filters["csv_link"] = csv_link
    return environment


def _own(text: str) -> Any:
    """Mark text of this package, never of data, as markup."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def grouped(blocks: Sequence[Block]) -> Iterator[tuple[str, tuple[Block, ...]]]:
    """Pair neighbouring half-width charts, so that they stand side by side."""
    waiting: list[Block] = []
    for block in blocks:
        if isinstance(block, Chart) and not block.wide:
            waiting.append(block)
            continue
        if waiting:
            yield "halves", tuple(waiting)
            waiting = []
        yield "one", (block,)
    if waiting:
        yield "halves", tuple(waiting)


def _render_block(macros: Any, block: Block) -> Any:
    if isinstance(block, Chart):
        return macros.figure(block, inline_svg(block))
    return getattr(macros, _MACROS[type(block)])(block)


def csv_link(table: ReportTable) -> str:
    """Return the rows of a table as the address of a download; nothing is requested from anywhere."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(table.as_csv().encode()).decode()


def inline_svg(chart: Chart) -> Any:
    """Render a chart to SVG that carries its text alternative, as markup for a page; twice if it has a narrow form."""
    drawn = _svg(chart.spec, chart.name, chart.alt, "full" if chart.narrow else "")
    return drawn + _svg(chart.narrow, f"{chart.name}-narrow", chart.alt, "narrow") if chart.narrow else drawn


def _svg(spec: Mapping[str, Any], name: str, alt: str, look: str) -> Any:
    from markupsafe import Markup

    svg = charts.to_svg(spec, name=name).replace(f' font-family="{charts.FONT}"', "")  # the page's stylesheet has it
    head, rest = svg.split(">", 1)
    label = f' role="img" aria-labelledby="{escape(name)}-alt"' + (f' class="{look}"' if look else "")
    return Markup(f'{head}{label}><desc id="{escape(name)}-alt">{escape(alt)}</desc>{rest}')  # noqa: S704 (escaped)


def chart_css() -> str:
    """Recolour the palette of inline charts from the page's variables; print keeps the light attributes."""
    rules = [
        f"figure svg [{what}='{light}' i]{{{what}:var(--{name})}}"
        for name, (light, _) in charts.PALETTE.items()
        for what in ("fill", "stroke")
    ]
    return "\n".join(rules)


def _source(environment: Any, name: str) -> str:
    text: str = environment.loader.get_source(environment, name)[0]
    return text


def _hash_source(script: str) -> str:
    """Return the policy's name for exactly this script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
