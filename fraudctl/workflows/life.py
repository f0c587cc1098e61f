"""``demo --life``: what happens to a model after its training, from an attack to a better champion and a poisoned feed.

Owns the story: which weeks there are, what is planted in them, and which command is run when. Whatever is said in it is
what the commands of these names say. At each instant the tables hold what was known by then, and nothing later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project, load_project
from fraudctl.workflows.demo import LABEL_TABLES
from fraudctl.workflows.sample import write_sample
from fraudctl.workflows.versions import user_name

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.compare import Comparison
    from fraudctl.monitor.outcome import MonitorResult
    from fraudctl.uncertainty import Estimate
    from fraudctl.workflows.dashboard import DashboardResult
    from fraudctl.workflows.evaluate import EvaluationResult
    from fraudctl.workflows.retrained import RetrainResult
    from fraudctl.workflows.sample import PlantedChange, SampleResult
    from fraudctl.workflows.train import TrainResult

N_EVENTS = 40_000
"""Payments of the sample: half of the default, so that the whole takes less than two minutes."""
TRAINED, ATTACK, RETRAINED, POISON, END = 4, 6, 15, 20, 24
"""Weeks after the sample: the data of the first model end, the attack begins, the champion is trained again, labels
begin to lie, and the story ends."""
NOTE = "frauds are reported three times as often; the feed says that it is right"
"""What somebody writes who takes note of the alarm on the labels without looking."""

_TIMES = {"transactions": "created_at", "logins": "at", "chargebacks": "reported_at", "disputes": "decided_at"}
_EDITS = (
    ("trials = 30", 'trials = 0\niterations = 150\npartner = "none"\nthreads = 2\nparams = { learning_rate = 0.15 }'),
    ("folds = 3", "folds = 2"),
    ('# test = "30d"', 'test = "14d"'),
    ("min_frauds = 300", 'min_frauds = 50\nchampion = { metric = "savings", no_worse_than = 0.02 }'),
)
"""What the demo changes in the proposed project file: quick training, a short test, a rule on the champion."""
_LIMITS = """
# What the team can bear: more alerts than its queue holds are harm.
[monitor.harm]
recall = { at_least = 0.30 }
alerts_per_day = { at_most = 35 }

# What only a person can say of a model, for its card.
[card]
owner = "the demo"
contact = "nobody: every payment here is synthetic"
purpose = "Decides synthetic card payments before they are authorised, to show what fraudctl does."
not_for = "Payments of real people, and any decision but the one on a payment."
materiality = "None: no money moves."
oversight = "Analysts look at payments in review, and may release those that were blocked."
limits = "It learned from synthetic fraud: five patterns, and one attack that came later."
monitoring = "fraudctl monitor, every week; more than 35 alerts a day are harm, and start a training."
next_review = "when monitor says act"
"""


@dataclass(frozen=True)
class LifeResult:
    """A model's life after its training, in one folder."""

    JSON = (
        "folder", "changes", "first", "champion", "calm_verdict as before", "alarm_verdict as attacked",
        "retrained_outcome as retrained", "earned_savings as earned", "settled_verdict as settled",
        "poison_verdict as poisoned", "stopped_outcome as stopped", "gated_outcome as gated", "page",
    )  # fmt: skip

    folder: Path
    """Where everything is."""
    changes: tuple[PlantedChange, ...]
    """What was planted, and from when."""
    began: datetime
    """Instant until which the data reached when the first model was trained."""
    train: TrainResult
    """The first model."""
    evaluation: EvaluationResult
    """What it was worth on its test period."""
    calm: MonitorResult
    """`monitor` on the day before the attack."""
    alarm: MonitorResult
    """`monitor` nine weeks into it."""
    retrained: RetrainResult
    """``retrain --if monitor --promote`` on the same day."""
    earned: Comparison | None
    """The new champion less the first model on the weeks after, paired; null where none was promoted."""
    settled: MonitorResult
    """`monitor` on the day before labels begin to lie."""
    poisoned: MonitorResult
    """`monitor` four weeks later."""
    stopped: RetrainResult
    """``retrain --if monitor --promote`` then: the alarm on the labels stops it."""
    gated: RetrainResult
    """The same after somebody took note of that alarm: the gate stops it."""
    champion: str
    """The champion at the end."""
    dashboard: DashboardResult
    """The dashboard at the end."""

    @property
    def first(self) -> str:
        """Version of the first model."""
        return self.train.version

    @property
    def calm_verdict(self) -> str:
        """Verdict of `monitor` before the attack."""
        return self.calm.verdict

    @property
    def alarm_verdict(self) -> str:
        """Verdict of `monitor` nine weeks into the attack."""
        return self.alarm.verdict

    @property
    def settled_verdict(self) -> str:
        """Verdict of `monitor` before labels begin to lie."""
        return self.settled.verdict

    @property
    def poison_verdict(self) -> str:
        """Verdict of `monitor` at the end."""
        return self.poisoned.verdict

    @property
    def retrained_outcome(self) -> str:
        """Outcome of retraining after the attack."""
        return self.retrained.outcome

    @property
    def earned_savings(self) -> Estimate | None:
        """Savings of the new champion less those of the first model on the weeks after, paired."""
        return None if self.earned is None else self.earned.differences["savings"]

    @property
    def stopped_outcome(self) -> str:
        """Outcome of retraining on poisoned labels."""
        return self.stopped.outcome

    @property
    def gated_outcome(self) -> str:
        """Outcome of the same after the alarm was taken note of."""
        return self.gated.outcome

    @property
    def page(self) -> str:
        """Path of the dashboard."""
        return str(self.dashboard.page)


def run_life(folder: Path, *, progress: Progress | None = None) -> LifeResult:
    """Train, watch, be attacked, train again, earn more, be fed poisoned labels, and promote nothing on them.

    Parameters
    ----------
    folder
        Where everything is written.

    Raises
    ------
    UsageError
        The folder already holds a sample.
    """
    from fraudctl import registry
    from fraudctl.workflows.dashboard import make_dashboard
    from fraudctl.workflows.models import compare_models

    world = _World.begin(folder, progress or Silent())
    trained, evaluation = world.first_champion()
    world.decide("first", RETRAINED)
    calm = world.monitor(until=ATTACK)
    alarm = world.monitor()
    retrained = world.retrain()
    world.decide("second", END)
    after = {"from_time": world.day(RETRAINED), "until": world.day(POISON)}
    new = retrained.version if retrained.outcome == "promoted" else None
    earned = None if new is None else compare_models(world.project, new, trained.version, **after, progress=world.told)
    settled = world.monitor(until=POISON)
    poisoned = world.monitor()
    stopped = world.retrain()
    world.take_note(poisoned)
    gated = world.retrain()
    board = make_dashboard(world.project, world.decisions, progress=world.told)
    champion = registry.champion(world.project.models_dir) or trained.version
    return LifeResult(
        folder, world.sample.changes, world.day(TRAINED), trained, evaluation, calm, alarm, retrained, earned, settled,
        poisoned, stopped, gated, champion, board,
    )  # fmt: skip


@dataclass
class _World:
    """The tables as they will be at the end, and as they are known at an instant.

    Attributes
    ----------
    whole
        Every further table at the end.
    decided
        Weeks after the sample until which events are decided.
    """

    sample: SampleResult
    whole: dict[str, pl.DataFrame]
    told: Progress
    decided: int = TRAINED

    @classmethod
    def begin(cls, folder: Path, progress: Progress) -> _World:
        """Make the sample and the weeks after it, and show what was known when the first model was trained."""
        import polars as pl

        sample = write_sample(
            folder, n_events=N_EVENTS, label_tables=LABEL_TABLES, after_days=7 * END,
            changes=(f"attack={ATTACK}w", f"poisoned-labels={POISON}w"), progress=progress,
        )  # fmt: skip
        _edit(sample.project_file)
        made = cls(sample, {name: pl.read_parquet(folder / f"{name}_after.parquet") for name in _TIMES}, progress)
        made.go_on(TRAINED)
        return made

    @property
    def project(self) -> Project:
        """The project of the folder."""
        return load_project(self.sample.project_file)

    @property
    def decisions(self) -> list[str | Path]:
        """Files of decisions."""
        return [str(self.sample.folder / "decisions" / "*.parquet")]

    def day(self, week: int) -> datetime:
        """Return the instant at which a week after the sample begins."""
        from fraudctl.sample import START
        from fraudctl.workflows.sample import DAYS

        return START + timedelta(days=DAYS, weeks=week)

    def go_on(self, week: int) -> None:
        """Write the tables as they are known when a week begins."""
        import polars as pl

        from fraudctl.data.outputs import write_parquet

        for name, time in _TIMES.items():
            known = self.whole[name].filter(pl.col(time) < self.day(week))
            write_parquet(known, self.sample.folder / f"{name}_after.parquet")

    def first_champion(self) -> tuple[TrainResult, EvaluationResult]:
        """Train on what is known, evaluate, and make that model the champion."""
        from fraudctl.workflows.evaluate import evaluate_model
        from fraudctl.workflows.models import promote_model
        from fraudctl.workflows.train import train_model

        trained = train_model(self.project, progress=self.told)
        evaluation = evaluate_model(
            self.project, model=trained.version, now=datetime.now(UTC), by=user_name(), progress=self.told
        )
        promote_model(self.project, trained.version, force_reason="the first champion", progress=self.told)
        return trained, evaluation

    def decide(self, name: str, until: int) -> None:
        """Let time go on to a week, and the champion decide on what came since the last decision."""
        import polars as pl

        from fraudctl.data.outputs import write_parquet
        from fraudctl.disk.files import temporary_folder
        from fraudctl.workflows.score import open_model, score_files

        self.go_on(until)
        folder = self.sample.folder
        events = pl.concat([pl.read_parquet(folder / f"transactions{part}.parquet") for part in ("", "_after")])
        since = pl.col("created_at") >= self.day(self.decided)
        (folder / "decisions").mkdir(exist_ok=True)
        with temporary_folder(folder, ".weeks") as place:
            write_parquet(events.filter(~since), place / "before.parquet")
            write_parquet(events.filter(since), place / "since.parquet")
            model = open_model(self.sample.project_file, "champion", batch=True, progress=self.told)
            score_files(
                model, [place / "since.parquet"], output=folder / "decisions" / f"{name}.parquet",
                history=[place / "before.parquet"], progress=self.told,
            )  # fmt: skip
        self.decided = until

    def monitor(self, until: int | None = None) -> MonitorResult:
        """Watch, on the day before a week or now."""
        from fraudctl.workflows.monitor import monitor_model

        as_of = None if until is None else (self.day(until) - timedelta(days=1)).date()
        return monitor_model(self.project, self.decisions, as_of=as_of, progress=self.told)

    def retrain(self) -> RetrainResult:
        """Run what a schedule runs."""
        from fraudctl.workflows.retrain import retrain_model

        return retrain_model(self.project, conditions=("monitor",), promote=True, progress=self.told)

    def take_note(self, found: MonitorResult) -> None:
        """Take note of every alarm on the data."""
        from fraudctl.workflows.monitor_log import acknowledge_alarm

        for alarm in found.alarms:
            if alarm.tier == "data":
                acknowledge_alarm(self.project, alarm.id, note=NOTE, now=datetime.now(UTC), by=user_name())


def _edit(path: Path) -> None:
    """Change the proposed project file into that of the demo."""
    from fraudctl.data.outputs import write_text

    text = path.read_text(encoding="utf-8")
    for old, new in _EDITS:
        if old not in text:
            msg = f"{path}: the proposal has no {old!r} any more, which the demo replaces"
            raise UsageError(msg)
        text = text.replace(old, new, 1)
    write_text(text + _LIMITS, path)
