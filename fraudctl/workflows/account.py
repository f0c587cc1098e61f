"""``models card`` and ``models verify``: the papers of a model, and whether they are as they were written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from fraudctl.account.card import ModelCard
from fraudctl.errors import BundleError, DataError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.workflows.evidence import evaluation_digest
from fraudctl.workflows.lineage import own_project
from fraudctl.workflows.versions import open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraudctl.bundle import Bundle
    from fraudctl.evaluate.result import Evaluation
    from fraudctl.registry import Entry


@dataclass(frozen=True)
class CardResult:
    """A model card and where it was written."""

    JSON = ("*card", "pages")

    card: ModelCard
    """The card."""
    pages: tuple[Path, ...] = ()
    """The pages that were written; empty where none was."""

    def _repr_html_(self) -> str:
        """Show the card in a notebook."""
        from fraudctl.report.render import card_notebook

        return card_notebook(self.card)


def write_card(
    project: Project,
    reference: str = "latest",
    *,
    evaluation: Path | None = None,
    write: bool = True,
    progress: Progress | None = None,
) -> CardResult:
    """Make the card of a model from its bundle and the log of the registry, without reading any data.

    It is written to ``reports/card-VERSION.html`` and ``.md``.

    Parameters
    ----------
    reference
        A version, a path, ``latest`` or ``champion``.
    evaluation
        What ``fraudctl evaluate --json`` printed for this version. By default the JSON that the last evaluation of its
        own test period wrote beside its report, where there is one.
    write
        Whether to write the pages.

    Raises
    ------
    BundleError
        The bundle is missing or damaged, the log is damaged, or the log does not know the evaluation.
    DataError
        The file of the evaluation cannot be read.
    """
    from fraudctl import registry
    from fraudctl.account.card import model_card

    progress = progress or Silent()
    bundle = open_bundle(project, reference, progress=progress)
    entries, own = registry.history(project.models_dir), own_project(bundle, project)
    found = _evaluation(project, bundle, entries, evaluation, progress=progress)
    card = model_card(
        bundle,
        own=own,
        words=project.card,
        entries=entries,
        champion=registry.champion(project.models_dir),
        evaluation=None if found is None else replace(found, timezone=own.data.timezone),
        project_file=hashlib.sha256(bundle.manifest["project_file"].encode()).hexdigest(),
    )
    return CardResult(card, _write(project, card) if write else ())


def _evaluation(
    project: Project, bundle: Bundle, entries: Sequence[Entry], given: Path | None, *, progress: Progress
) -> Evaluation | None:
    """Read an evaluation and hold it against the digests of the gates in the log."""
    path = given or project.reports_dir / f"evaluation-{bundle.version}.json"
    if given is None and not path.is_file():
        return None
    found = _read(path)
    if evaluation_digest(found) in _digests(entries, bundle.version, "evaluation"):
        return found
    msg = f"{path} is no evaluation of {bundle.version} that the log of the registry knows"
    if given is not None:
        raise BundleError(msg, hint=f"`fraudctl evaluate --model {bundle.version}` makes one")
    progress.warn(f"{msg}; the card goes without it")
    return None


def noted_evaluation(project: Project, bundle: Bundle) -> Evaluation | None:
    """Return the evaluation that lies among the reports, if the log of the registry has its digest; else None."""
    from fraudctl import registry

    return _evaluation(project, bundle, registry.history(project.models_dir), None, progress=Silent())


def _read(path: Path) -> Evaluation:
    from fraudctl.documents.results import from_json
    from fraudctl.documents.sealed import DocumentError, read_object
    from fraudctl.evaluate.result import Evaluation

    try:
        document = read_object(path.read_bytes())
        return from_json(Evaluation, {key: value for key, value in document.items() if key != "report"})
    except (OSError, DocumentError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        msg = f"{path} cannot be read as an evaluation: {what}"
        raise DataError(
            msg, hint="give what `fraudctl evaluate --json` printed with this version of fraudctl"
        ) from error


def _write(project: Project, card: ModelCard) -> tuple[Path, ...]:
    from fraudctl.data import outputs
    from fraudctl.report.render import card_markdown, card_report

    place = project.reports_dir / f"card-{card.version}.html"
    pages = {place: card_report(card), place.with_suffix(".md"): card_markdown(card)}
    for path, text in pages.items():
        outputs.write_text(text, path)
    return tuple(pages)


@dataclass(frozen=True)
class LineageResult:
    """The life of a project's models as OpenLineage events, and where they were written."""

    SCHEMA_VERSION: ClassVar = 1

    path: Path
    """The file: one event a line."""
    events: int
    """Events: the lines of the registry's log."""
    missing: tuple[str, ...]
    """Versions that the log names and whose bundle is not there: their data are named without their content."""


def write_lineage(project: Project, path: Path | None = None, *, progress: Progress | None = None) -> LineageResult:
    """Write the registry's log as OpenLineage run events, one JSON object a line.

    Nothing is sent anywhere. The same log and bundles give the same bytes.

    Parameters
    ----------
    path
        The file; by default ``lineage.ndjson`` among the reports.

    Raises
    ------
    BundleError
        The log is damaged, or a bundle is.
    """
    import json

    from fraudctl import __version__, registry
    from fraudctl.account.openlineage import LineageWriter
    from fraudctl.bundle import list_bundles, load_bundle
    from fraudctl.data import outputs

    (progress or Silent()).stage("Writing lineage")
    entries = registry.history(project.models_dir)
    bundles = {item.name: load_bundle(item) for item in list_bundles(project.models_dir)}
    places = project.data.events
    writer = LineageWriter(
        project.project.name,
        [places] if isinstance(places, str) else list(places),
        producer=f"urn:fraudctl:{__version__}",
        bundles=bundles,
    )
    lines = [json.dumps(writer.event(number, entry), ensure_ascii=False) for number, entry in enumerate(entries, 1)]
    target = path or project.reports_dir / "lineage.ndjson"
    outputs.require_no_input(target, project)
    outputs.write_text("".join(f"{line}\n" for line in lines), target)
    missing = tuple(dict.fromkeys(entry.version for entry in entries if entry.version not in bundles))
    return LineageResult(target, len(lines), missing)


@dataclass(frozen=True)
class CheckedPaper:
    """One thing that was verified."""

    kind: Literal["log", "bundle", "report", "evaluation", "runs"]
    """What it is."""
    name: str
    """Its path, relative to the project."""
    found: Literal["sound", "damaged", "missing", "unknown"]
    """``unknown``: it is there, and the log does not say what it was."""
    reason: str | None = None
    """What is wrong; null where it is sound."""


@dataclass(frozen=True)
class PapersResult:
    """What of a project's models is as it was written."""

    SCHEMA_VERSION: ClassVar = 1
    JSON = ("sound", "entries", "items")

    entries: int
    """Lines of the log."""
    items: tuple[CheckedPaper, ...]
    """What was verified: the log, every bundle, every paper of an evaluation that the log has a digest of, and the
    receipts of retraining."""

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged, and no version that decides or was approved is missing."""
        return all(item.found in ("sound", "unknown") for item in self.items)


def verify_models(project: Project, *, progress: Progress | None = None) -> PapersResult:
    """Verify the log of the registry line by line, every bundle byte by byte, and the papers of evaluations.

    A bundle in the line of champions that is not there counts as missing. A report, or the JSON beside it, is sound if
    any gate of its version has its digest in the log.
    """
    from fraudctl import registry

    progress = progress or Silent()
    progress.stage("Verifying")
    log = project.models_dir / registry.LOG_NAME
    try:
        entries = registry.history(project.models_dir)
    except BundleError as error:
        broken = CheckedPaper("log", _place(log, project), "damaged", error.message)
        return PapersResult(0, (broken, *_bundles(project, ()), *_runs(project)))
    first = CheckedPaper("log", _place(log, project), "sound")
    items = (first, *_bundles(project, entries), *_papers(project, entries), *_runs(project))
    return PapersResult(len(entries), items)


def _runs(project: Project) -> Iterator[CheckedPaper]:
    """Yield the receipts of retraining, where there are any."""
    from fraudctl import runs

    if project.runs_dir.is_dir():
        try:
            runs.history(project.runs_dir)
        except BundleError as error:
            yield CheckedPaper("runs", _place(project.runs_dir, project), "damaged", error.message)
        else:
            yield CheckedPaper("runs", _place(project.runs_dir, project), "sound")


def _place(path: Path, project: Project) -> str:
    return path.relative_to(project.root).as_posix()


def _bundles(project: Project, entries: Sequence[Entry]) -> Iterator[CheckedPaper]:
    from fraudctl import registry
    from fraudctl.bundle import list_bundles, load_bundle

    there = list_bundles(project.models_dir)
    written = {item.version for item in entries if item.event in get_args(registry.WrittenBy)}
    for path in there:
        try:
            load_bundle(path).predictions()
        except BundleError as error:
            yield CheckedPaper("bundle", _place(path, project), "damaged", error.message)
            continue
        known = path.name in written
        reason = None if known else "the log does not say when it was written"
        yield CheckedPaper("bundle", _place(path, project), "sound" if known else "unknown", reason)
    for version in dict.fromkeys(registry.succession(entries)):
        path = project.models_dir / version
        if path not in there:
            yield CheckedPaper("bundle", _place(path, project), "missing", "the log has it in the line of champions")


def _papers(project: Project, entries: Sequence[Entry]) -> Iterator[CheckedPaper]:
    """Yield the page and the JSON of each version's evaluation, where they are there and the log has their digests."""
    for version in dict.fromkeys(item.version for item in entries if item.event == "gate"):
        page = project.reports_dir / f"evaluation-{version}.html"
        reports = _digests(entries, version, "report")
        if reports and page.is_file():
            yield _paper("report", page, project, same=hashlib.sha256(page.read_bytes()).hexdigest() in reports)
        document, evaluations = page.with_suffix(".json"), _digests(entries, version, "evaluation")
        if evaluations and document.is_file():
            yield _paper("evaluation", document, project, same=_digest_of(document) in evaluations)


def _digests(entries: Sequence[Entry], version: str, what: str) -> set[str]:
    """Return the digests that the gates of a version have in the log."""
    gates = [item.evidence or {} for item in entries if item.event == "gate" and item.version == version]
    return {evidence[what] for evidence in gates if evidence.get(what)}


def _digest_of(path: Path) -> str | None:
    """Return the digest of an evaluation; None of a file that is none."""
    try:
        return evaluation_digest(_read(path))
    except DataError:
        return None


def _paper(kind: Literal["report", "evaluation"], path: Path, project: Project, *, same: bool) -> CheckedPaper:
    reason = None if same else "no gate in the log wrote it so"
    return CheckedPaper(kind, _place(path, project), "sound" if same else "damaged", reason)
