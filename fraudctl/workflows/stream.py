"""``score -`` and ``score --state``: messages in order through an engine that remembers, by lines or by files."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import DataError
from fraudctl.progress import Progress, Silent
from fraudctl.text.figures import count, number
from fraudctl.workflows.score import ScoreResult, tell_extra

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.scoring.engine import DecisionEngine

BATCH = 10_000
"""Messages of a file that are taken between two writes of the log and of the answers."""


@dataclass(frozen=True)
class StreamResult:
    """What a stream brought."""

    JSON = (
        "model", "policy", "events", "labels", "sources", "repeated", "refused", "actions", "n_dropped as dropped",
    )  # fmt: skip

    model: str
    policy: str
    events: int
    labels: int
    sources: int
    repeated: int
    """Events that had been decided before, and got the same answer."""
    refused: int
    """Lines that were answered with an error."""
    actions: dict[str, int]
    dropped: DroppedOutcomes

    @property
    def n_dropped(self) -> int:
        """Outcomes that no feature counts."""
        return self.dropped.outcomes


@dataclass(frozen=True)
class DroppedOutcomes:
    """Outcomes that no feature counts, because their event is not known: not yet, or no longer.

    Attributes
    ----------
    outcomes
        How many.
    wait_days
        How long an event waits for the message with its outcome: three label delays, at least 30 days.
    """

    outcomes: int
    wait_days: float

    @classmethod
    def so_far(cls, engine: DecisionEngine) -> DroppedOutcomes:
        """Return the outcomes without an event in the features of the champion, since their state was built."""
        features = engine.live.features[engine.champion.features.digest]
        return cls(features.counters["dropped"] + features.n_early, features.wait_us / 86_400_000_000)

    def since(self, before: DroppedOutcomes) -> DroppedOutcomes:
        """Return what came after an earlier count; events that came later may have taken some of the earlier ones."""
        return replace(self, outcomes=max(self.outcomes - before.outcomes, 0))

    @property
    def words(self) -> str | None:
        """Return how many there are and where they would count; None where there is none."""
        if not self.outcomes:
            return None
        return (
            f"{count(self.outcomes, 'outcome')} without an event that is known, which no feature counts: an event "
            f"waits {number(self.wait_days)} days (three label delays, at least 30 days) for its outcome; a file with "
            "--history counts outcomes of any age"
        )


def score_stream(engine: DecisionEngine, lines: Iterable[bytes], answer: Callable[[bytes], object]) -> StreamResult:
    """Decide on events line by line, as they come; labels and rows of other tables come in the same stream.

    Parameters
    ----------
    lines
        JSON documents, one a line; empty lines are passed over.
    answer
        Gets one line for every event, in order; and ``{"line": 7, "error": ...}`` for a line that cannot be taken,
        which changes nothing. The answer to an event is given after the event is in the log.
    """
    from fraudctl.scoring import wire

    refused, before, dropped = 0, dict(engine.live.counts), DroppedOutcomes.so_far(engine)
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            out = engine.take(wire.parse(line))
        except DataError as error:
            refused += 1
            out = wire.dumps({"line": at, "error": error.message, "hint": error.hint})
        engine.flush()
        if out is not None:
            answer(out)
    return _stream_result(engine, before, refused, DroppedOutcomes.so_far(engine).since(dropped))


def _stream_result(
    engine: DecisionEngine, before: Mapping[str, int], refused: int, dropped: DroppedOutcomes
) -> StreamResult:
    now = {key: engine.live.counts[key] - before.get(key, 0) for key in ("events", "labels", "sources", "repeated")}
    decider = engine.champion
    actions = {action: engine.actions[action] for action in decider.policy.actions}
    return StreamResult(decider.model, decider.policy_version, **now, refused=refused, actions=actions, dropped=dropped)


def score_through(
    engine: DecisionEngine,
    data: Sequence[str | Path],
    *,
    output: Path,
    entries: pl.DataFrame | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Decide on the events of files one by one, on top of what an engine remembers, and write one Parquet file.

    Events and outcomes are taken in the order of time, an outcome at the instant at which it arrived. All of them are
    checked before the first is taken. An event whose id was answered before gets the answer that it got, so that a run
    that was killed can be repeated, and a finished run gives the same file again.

    Parameters
    ----------
    entries
        What `read_entries` returned, where labels are in tables of their own: the entries of the events in the files,
        and those of others that became known since the latest event that the engine remembers.

    Raises
    ------
    DataError
        As `score_files` does; an event differs from the one that was answered under its id.
    """
    from fraudctl.data.chunks import write_chunks
    from fraudctl.data.outputs import require_parquet_path
    from fraudctl.scoring.tables import messages, open_new, require_ids

    require_parquet_path(output)
    progress, decider = progress or Silent(), engine.champion
    new = open_new(data, decider.project, decider.schema, carried=decider.carried, what="DATA")
    require_ids(new, decider.project)
    tell_extra(new, progress)
    progress.stage("Checking events")
    after_us = engine.live.features[decider.features.digest].now
    for raw in messages(new, decider, entries=entries, after_us=after_us):
        engine.check_any(raw)
    progress.stage("Deciding one by one")
    delivery, dropped = _Delivery(engine), DroppedOutcomes.so_far(engine)

    def chunks() -> Iterator[pl.DataFrame]:
        for part in _batches(messages(new, decider, entries=entries, after_us=after_us), BATCH):
            answers = delivery.answers(part)
            engine.flush()
            progress.update(delivery.actions.total())
            yield _answers_frame(answers, engine)

    nothing = _answers_frame([], engine)
    write_chunks(lambda: itertools.chain(chunks(), [nothing]), output)
    lost = DroppedOutcomes.so_far(engine).since(dropped).words
    if lost is not None:
        progress.warn(lost)
    actions = {
        action: delivery.actions[action] for action in {**dict.fromkeys(decider.policy.actions), **delivery.actions}
    }
    return ScoreResult(
        output, decider.model, decider.policy_version, delivery.actions.total(), actions, delivery.duplicates,
        new.extra, delivery.repeated,
    )  # fmt: skip


class _Delivery:
    """The answers of one file: one for each event, whether it is decided now or was before.

    Attributes
    ----------
    actions
        Events by action.
    duplicates
        Rows that repeat another of the file.
    repeated
        Events that had been answered before this run.
    """

    def __init__(self, engine: DecisionEngine) -> None:
        self.actions = Counter[str]()
        self.duplicates = self.repeated = 0
        self._engine = engine
        self._seen: set[int | str] = set()

    def answers(self, part: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Take messages in order; return the answers to those that are events not delivered yet."""
        from fraudctl.scoring import wire

        engine, reader = self._engine, self._engine.champion.reader
        ids = [reader.event_id(raw) for raw in part]
        engine.live.answers.fetch([key for key in ids if key is not None])
        out = []
        for key, raw in zip(ids, part, strict=True):
            before = engine.live.counts["repeated"]
            found = engine.take(raw)
            if found is None or key is None:
                continue
            if key in self._seen:
                self.duplicates += 1
                continue
            self._seen.add(key)
            self.repeated += engine.live.counts["repeated"] - before
            document = wire.loads(found)
            if engine.with_features and "features" not in document:
                msg = "an event was answered before without the values of its features"
                raise DataError(msg, hint="leave out --with-features: the answers that were given stand")
            self.actions[document["action"]] += 1
            out.append(document)
        return out


def _batches(items: Iterator[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _answers_frame(documents: list[Mapping[str, Any]], engine: DecisionEngine) -> pl.DataFrame:
    """Return answers as the table that batch scoring writes, with what a control group adds to them."""
    import polars as pl

    from fraudctl.data.own import outside, shown_beside
    from fraudctl.features.meaning.definition import POLARS_TYPES
    from fraudctl.scoring.decider import answer_schema

    decider = engine.champion
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **answer_schema(decider.schema.events[decider.project.data.event_id])
    }
    if engine.experiment is not None:
        schema |= {"control_group": pl.Boolean(), "exposure_prob": pl.Float64()}
    decided = pl.DataFrame(documents, schema=schema)
    if not engine.with_features:
        return decided
    types = {outside(feature.name): POLARS_TYPES[feature.dtype] for feature in decider.features.features}
    values = pl.DataFrame([item["features"] for item in documents], schema=types)
    return decided.hstack(values.rename(lambda name: shown_beside(name, schema)))
