"""The reports that commands write: one function per result and form, which loads what it needs and no other result."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fraudctl.report.html import render_html
from fraudctl.report.markdown import render_markdown
from fraudctl.report.notebook import render_notebook
from fraudctl.report.terminal import render_terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fraudctl.account.card import ModelCard
    from fraudctl.evaluate.result import Evaluation
    from fraudctl.explain.event import EventExplanation
    from fraudctl.explain.result import Explanation
    from fraudctl.monitor.dashboard import Dashboard
    from fraudctl.report.document import Document


def explanation_report(explanation: Explanation) -> str:
    """Return the explanation as one self-contained HTML page."""
    from fraudctl.report.explanation import explanation_document

    return render_html(explanation_document(explanation))


def explanation_notebook(explanation: Explanation) -> str:
    """Return the explanation for a notebook: its head, and its first chart and table."""
    from fraudctl.report.explanation import explanation_document

    return render_notebook(explanation_document(explanation))


def explanation_terminal(explanation: Explanation, *, sections: bool = False) -> RenderableType:
    """Return the explanation for a terminal: verdict, figures and findings; all sections on request."""
    from fraudctl.report.explanation import explanation_document

    return render_terminal(explanation_document(explanation), sections=sections)


def event_terminal(event: EventExplanation) -> RenderableType:
    """Return the explanation of one event for a terminal."""
    from fraudctl.report.event import event_document

    return render_terminal(event_document(event))


def evaluation_report(evaluation: Evaluation, *, project: str = "") -> str:
    """Return the evaluation as one self-contained HTML page."""
    from fraudctl.report.evaluation import evaluation_document

    return render_html(evaluation_document(evaluation, project=project))


def evaluation_notebook(evaluation: Evaluation) -> str:
    """Return the evaluation for a notebook: its head, and its first chart and table."""
    from fraudctl.report.evaluation import evaluation_document

    return render_notebook(evaluation_document(evaluation))


def card_report(card: ModelCard) -> str:
    """Return a model card as one self-contained HTML page."""
    from fraudctl.report.card import card_document

    return render_html(card_document(card))


def card_markdown(card: ModelCard) -> str:
    """Return a model card as Markdown, with every row of its tables."""
    from fraudctl.report.card import card_document

    return render_markdown(card_document(card))


def card_notebook(card: ModelCard) -> str:
    """Return a model card for a notebook: its head, and its first table."""
    from fraudctl.report.card import card_document

    return render_notebook(card_document(card))


def card_terminal(card: ModelCard) -> RenderableType:
    """Return a model card for a terminal: its head."""
    from fraudctl.report.card import card_document

    return render_terminal(card_document(card), sections=False)


def dashboard_report(board: Dashboard) -> str:
    """Return a dashboard as one self-contained HTML page."""
    from fraudctl.report.dashboard import dashboard_document

    return render_html(dashboard_document(board))


def dashboard_notebook(board: Dashboard) -> str:
    """Return a dashboard for a notebook: its head, and its first chart and table."""
    from fraudctl.report.dashboard import dashboard_document

    return render_notebook(dashboard_document(board))


def dashboard_terminal(board: Dashboard) -> RenderableType:
    """Return a dashboard for a terminal: light, reasons and figures."""
    from fraudctl.report.dashboard import dashboard_document

    return render_terminal(dashboard_document(board), sections=False)


def chart_files(document: Document) -> dict[str, bytes]:
    """Return every chart and bar of a document as files: name -> bytes of an SVG or PNG, for slides."""
    from fraudctl.report import charts

    specs = {bar.name: charts.parts([asdict(part) for part in bar.segments]) for bar in document.bars()}
    specs |= {chart.name: dict(chart.spec) for chart in document.charts()}
    files: dict[str, bytes] = {}
    for name, spec in specs.items():
        files[f"{name}.svg"] = charts.to_svg(spec, name=name).encode()
        files[f"{name}.png"] = charts.to_png(spec)
    return files
