"""A fitted challenger: what its program learned, and the way back to scores.

Owns the record of it in a bundle and the proof that what scores is what was fitted: the same section of the project
file, the same program byte by byte, the same files of the model. It runs code of the present project alone; a bundle
holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import EVENT_TIME, ChallengerFacts, ChallengerFeature
from fraudctl.challengers.program import FittedModel, Program, read_program
from fraudctl.errors import BundleError
from fraudctl.project.challengers import ChallengerSection

if TYPE_CHECKING:
    from fraudctl.documents.types import JsonObject
    from fraudctl.project import Project


@dataclass(frozen=True)
class ScoreScale:
    """How the scores of a program become raw scores: as log-odds, or centred and scaled by two constants.

    Attributes
    ----------
    kind
        ``probability``, or ``raw``: then the raw score is ``(score - centre) / spread``.
    """

    kind: str
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def learn(cls, kind: str, scores: FloatArray) -> ScoreScale:
        """Take centre and spread from the scores of all folds, shape ``(n_events,)``: their mean and deviation."""
        spread = float(np.std(scores)) if len(scores) else 0.0
        if kind == "probability" or not np.isfinite(spread) or spread <= 0.0:
            return cls(kind)
        return cls(kind, float(np.mean(scores)), spread)

    def apply(self, scores: FloatArray) -> FloatArray:
        """Return raw scores, as calibrators take them."""
        from fraudctl.calibrate import log_odds

        if self.kind == "probability":
            return log_odds(np.clip(scores, 0.0, 1.0))
        return np.asarray((scores - self.centre) / self.spread, dtype=np.float64)


@dataclass(frozen=True)
class Challenger:
    """A fitted challenger, as a bundle keeps it.

    Attributes
    ----------
    name, section
        As in the project file that it was trained with.
    program
        File of the program -> its SHA-256.
    facts
        What the program is told when it scores.
    model
        What it learned.
    scale
        From its scores to raw scores.
    root, present
        Folder of the project that it is to run in, and its section there; None where no project is known.
    """

    name: str
    section: ChallengerSection
    program: Mapping[str, str]
    facts: ChallengerFacts
    model: FittedModel
    scale: ScoreScale
    root: Path | None = None
    present: ChallengerSection | None = None

    def within(self, project: Project) -> Challenger:
        """Return it ready to run in a project; whether its program is still there is checked when it does."""
        return replace(self, root=project.root, present=project.challengers.get(self.name))

    def score(self, rows: pl.DataFrame, context: pl.DataFrame) -> FloatArray:
        """Return raw scores of `plain_rows`, shape ``(n_events,)``.

        Raises
        ------
        BundleError
            No project is known, or its program is not the one that was fitted.
        DataError
            The program fails, or its answer breaks the contract.
        """
        found = self.program_now().score(rows, context, self.model.files, self.facts, where="its bundle")
        return self.scale.apply(found)

    def program_now(self) -> Program:
        """Return the program in the project; raises as `score` does if it is not the one that was fitted."""
        if self.root is None:
            msg = f"the challenger {self.name} runs a program of its project, and the bundle was opened without one"
            raise BundleError(msg, hint="name the project with --project, and the bundle by its version")
        if self.present is None or _what_runs(self.present) != _what_runs(self.section):
            how = "has no such section" if self.present is None else "gives it another program or other params"
            msg = f"the bundle is of [challengers.{self.name}], and the project file now {how}"
            raise BundleError(msg, hint=f"restore it, or `fraudctl train --challenger {self.name}` again")
        program = read_program(self.name, self.present, self.root)
        now = program.hashes
        changed = sorted(name for name in {*now, *self.program} if now.get(name) != self.program.get(name))
        if changed:
            msg = f"the program of the challenger {self.name} is not the one that was fitted: {changed[0]} differs"
            raise BundleError(msg, hint=f"restore it, or `fraudctl train --challenger {self.name}` again")
        return program

    def to_dict(self) -> JsonObject:
        """Return the record as JSON, without the files of the model."""
        return {
            "name": self.name,
            "section": self.section.model_dump(mode="json"),
            "program": dict(self.program),
            "seed": self.facts.seed,
            "threads": self.facts.threads,
            "features": [
                [item.name, None if item.levels is None else list(item.levels)] for item in self.facts.features
            ],
            "entities": dict(self.facts.entities),
            "as_of": None if self.facts.as_of is None else self.facts.as_of.isoformat(),
            "model": sorted(self.model.files),
            "versions": dict(self.model.versions),
            "scale": [self.scale.kind, self.scale.centre, self.scale.spread],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], files: Mapping[str, bytes]) -> Challenger:
        """Read what `to_dict` wrote; ``files`` are those of the model.

        Raises
        ------
        BundleError
            The document is not of that form.
        """
        try:
            section = ChallengerSection.model_validate(document["section"])
            features = tuple(
                ChallengerFeature(name, None if levels is None else tuple(levels))
                for name, levels in document["features"]
            )
            as_of = None if document["as_of"] is None else datetime.fromisoformat(document["as_of"])
            kind, centre, spread = document["scale"]
            facts = ChallengerFacts(
                "score", document["name"], document["seed"], document["threads"], features, document["entities"],
                as_of, None if section.history is None else section.history.seconds, section.params,
            )  # fmt: skip
            model = FittedModel(files, document["versions"])
            scale = ScoreScale(str(kind), float(centre), float(spread))
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            msg = "the bundle's record of its challenger cannot be read by this version of fraudctl"
            raise BundleError(msg, hint="train again, or use the version that wrote it") from error
        return cls(document["name"], section, document["program"], facts, model, scale)


def _what_runs(section: ChallengerSection) -> JsonObject:
    """Return what a score follows from: time limits may change, and do not count."""
    return section.model_dump(mode="json", exclude={"timeout", "deterministic", "files"})


def nearby(whole: pl.DataFrame, rows: pl.DataFrame, section: ChallengerSection) -> pl.DataFrame:
    """Return the other events that a challenger sees: from ``history`` before the first row up to the last row.

    Parameters
    ----------
    whole
        The feature table that the rows are of, or the part of it that is at hand.
    """
    if section.history is None or rows.is_empty() or EVENT_TIME not in rows.columns:
        return whole.clear()
    time = pl.col(EVENT_TIME)
    first, last = rows[EVENT_TIME].min(), rows[EVENT_TIME].max()
    inside = whole.filter((time >= pl.lit(first) - section.history.timedelta) & (time <= pl.lit(last)))
    return inside.join(rows.select("event_id"), on="event_id", how="anti", maintain_order="left")
