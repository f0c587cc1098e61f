"""The search for parameters: an Optuna study over the folds that can be killed, resumed and shared.

Owns the study: its journal, its trials and what they bought. Every trial draws from a seed of its own, derived from its
place among the trials that count, so a resumed search ends where an uninterrupted one does. It fits on sampled
legitimate rows and gives back parameters; the models that are kept are fitted elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fraudctl.calibrate import undo_sampling
from fraudctl.errors import DataError, UsageError
from fraudctl.text.figures import number
from fraudctl.train.model import best_trees, fit_model, params_of, raw_score
from fraudctl.train.objective import FoldRows, Objective, paired_gain
from fraudctl.train.summary import Gain, NoSearch, SearchSpan, SearchSummary, TreeLimits

if TYPE_CHECKING:
    import optuna
    from numpy.typing import NDArray

    from fraudctl.boosting import Pool
    from fraudctl.progress import Progress
    from fraudctl.project.training import TrainSection

Gate = Callable[[], contextlib.AbstractContextManager[None]]

_STARTUP_TRIALS: Final = 8
_EVERY_SECONDS: Final = 2.0
"""Trees of a trial are not counted aloud more often than this."""
_SEAL: Final = "sha256"
"""Key of a journal line that holds the digest of the others."""
_OWNER, _SHARED, _DEFAULTS = "owner", "beside_others", "defaults"


@dataclass(frozen=True)
class Rehearsal:
    """One fold, prepared once for all trials.

    Attributes
    ----------
    train
        Quantised pool of all frauds and a share ``kept`` of the legitimate rows of the fold's training period.
    stop
        Pool sampled likewise from the validation rows: what early stopping looks at.
    valid
        Pool of all validation rows.
    judged
        Outcomes of the rows in ``valid``.
    kept
        Share of the legitimate training rows in ``train``.
    """

    train: Pool
    stop: Pool
    valid: Pool
    judged: FoldRows
    kept: float


@dataclass(frozen=True)
class Tuned:
    """What the search found.

    Attributes
    ----------
    params
        Parameters to fit with: the best trial's, or the defaults where it did not beat them for certain.
    gain
        Objective of the searched parameters minus that of the defaults, mean over the folds, with its 90 % interval:
        each fold is judged with the parameters that did best on the other folds. None without a search.
    kept_defaults
        Whether ``params`` are the defaults.
    summary
        The search: trials by state, figures, space, decision.
    """

    params: dict[str, float]
    gain: Gain | None
    kept_defaults: bool
    summary: NoSearch | SearchSummary


@dataclass
class Tuner:
    """A search over the folds; `run` does all of it."""

    rehearsals: Sequence[Rehearsal]
    objective: Objective
    settings: TrainSection
    seed: int
    progress: Progress
    _fits: dict[tuple[str, int], tuple[float, NDArray[np.float64]]] = field(default_factory=dict)
    _at: tuple[int, int | None] = (0, None)

    def run(self, *, n_trials: int, journal: Path | None, name: str) -> Tuned:
        """Search, and say what the search bought over the defaults.

        Parameters
        ----------
        n_trials
            Trials in all, the defaults being the first; trials of an earlier run of the same study count.
        journal
            File that the trials are kept in; None keeps them in memory.
        name
            Name of the study: the same data, features and settings must give the same name, others another.
        """
        defaults = params_of(self.settings.params)
        if n_trials == 0 or not self.settings.search:
            return Tuned(defaults, None, kept_defaults=True, summary=NoSearch())
        if not any(rehearsal.judged.has_both_classes for rehearsal in self.rehearsals):
            msg = f"no fold has a fraud in its validation period, so {self.objective.name} cannot rank trials"
            raise DataError(msg, hint="longer test periods, more folds or more history; or train with trials = 0")
        study = self._open(journal, name)
        gate = _gate(journal)
        with gate():
            self._fail_stale(study)
        while _counted(study) < n_trials:
            self._one_trial(study, n_trials, gate)
        return self._conclude(study, defaults)

    def _open(self, journal: Path | None, name: str) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage: Any = optuna.storages.InMemoryStorage()
        if journal is not None:
            storage = _journal_storage(journal, self.progress)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS)
        return optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
        )

    def _fail_stale(self, study: optuna.Study) -> None:
        """Mark trials whose process is gone as failed; new trials are run in their place."""
        from optuna.trial import TrialState

        for trial in _trials(study):
            if trial.state == TrialState.RUNNING and not _alive(trial.user_attrs.get(_OWNER, "")):
                study.tell(trial.number, state=TrialState.FAIL)

    def _one_trial(self, study: optuna.Study, n_trials: int, gate: Gate) -> None:
        """Run the next trial; its sampler is seeded by its place among the trials that count."""
        import optuna
        from optuna.trial import TrialState

        with gate():
            trial, place = self._begin(study)
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS, multivariate=False)
        value = self._judge(trial, self._suggest(trial, params_of(self.settings.params)))
        if value is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
        note = f"best {self.objective.name} {number(study.best_value, 4)}"
        self._say(min(_counted(study), n_trials), n_trials, note)

    def _begin(self, study: optuna.Study) -> tuple[optuna.Trial, int]:
        """Open a trial in this process's name, the defaults first, and give its place."""
        from optuna.trial import TrialState

        gone = [TrialState.FAIL]
        if not any(_is_default(trial) and trial.state not in gone for trial in _trials(study)):
            defaults = params_of(self.settings.params)
            study.enqueue_trial({name: defaults[name] for name in self.settings.search}, user_attrs={_DEFAULTS: True})
        trial = study.ask()
        trial.set_user_attr(_OWNER, _identity())
        others = [item for item in _trials(study) if item.number != trial.number]
        if any(item.state == TrialState.RUNNING for item in others):
            trial.set_user_attr(_SHARED, value=True)
        return trial, sum(item.number < trial.number and item.state not in gone for item in others)

    def _suggest(self, trial: optuna.Trial, defaults: Mapping[str, float]) -> dict[str, float]:
        """Draw the searched parameters; the space is widened to hold the defaults, which are the first trial."""
        params = dict(defaults)
        first = trial.user_attrs.get(_DEFAULTS, False)
        for name, span in self.settings.search.items():
            low, high = (
                (min(span.low, defaults[name]), max(span.high, defaults[name])) if first else (span.low, span.high)
            )
            log = span.log and low > 0
            if name == "depth":
                params[name] = trial.suggest_int(name, int(low), int(high))
            else:
                params[name] = trial.suggest_float(name, low, high, log=log)
        return params

    def _judge(self, trial: optuna.Trial, params: Mapping[str, float]) -> float | None:
        """Return the mean objective over the folds that have one; None where the trial is pruned on the way."""
        values = []
        settings, brief = self._brief(params)
        for i, rehearsal in enumerate(self.rehearsals):
            if not rehearsal.judged.has_both_classes:
                continue
            values.append(self._fit(brief, i, settings)[0])
            trial.report(float(np.mean(values)), step=len(values))
            trial.set_user_attr(f"fold_{i}", values[-1])
            if trial.should_prune():
                return None
        return float(np.mean(values))

    def _brief(self, params: Mapping[str, float]) -> tuple[TrainSection, dict[str, float]]:
        """Return settings and parameters for fewer trees: larger steps and less patience in the same proportion."""
        trees = min(self.settings.iterations, self.settings.search_iterations)
        factor = self.settings.iterations / trees
        patience = max(1, round(self.settings.early_stopping / factor))
        settings = self.settings.model_copy(update={"iterations": trees, "early_stopping": patience})
        return settings, {**params, "learning_rate": min(1.0, params["learning_rate"] * factor)}

    def _fit(self, params: Mapping[str, float], i: int, settings: TrainSection) -> tuple[float, NDArray[np.float64]]:
        """Fit one fold, and give its objective and the log-odds of its validation rows, corrected for the sampling."""
        rehearsal = self.rehearsals[i]
        model = fit_model(
            rehearsal.train,
            params,
            settings=settings,
            iterations=settings.iterations,
            seed=self.seed,
            valid=rehearsal.stop,
            watch=self._watch(f"fold {i + 1} of {len(self.rehearsals)}"),
        )
        scores = undo_sampling(raw_score(model, rehearsal.valid, trees=best_trees(model)), kept=rehearsal.kept)
        return self.objective.value(rehearsal.judged, scores), scores

    def _watch(self, what: str) -> Callable[[int], None]:
        """Return what says how many trees of one fit are grown; the number of trials that are done stays."""
        last = time.monotonic()

        def tree(number: int) -> None:
            nonlocal last
            if time.monotonic() - last > _EVERY_SECONDS:
                last = time.monotonic()
                self.progress.update(*self._at, f"{what}, tree {number}")

        return tree

    def _say(self, done: int, total: int, note: str) -> None:
        self._at = done, total
        self.progress.update(done, total, note)

    def _fitted(self, params: Mapping[str, float], i: int) -> tuple[float, NDArray[np.float64]]:
        """Do as `_fit` with as many trees as a model may have, once for the same parameters and fold."""
        key = (json.dumps(dict(params), sort_keys=True), i)
        if key not in self._fits:
            self._fits[key] = self._fit(params, i, self.settings)
        return self._fits[key]

    def _conclude(self, study: optuna.Study, defaults: Mapping[str, float]) -> Tuned:
        from optuna.trial import TrialState

        done = [trial for trial in _trials(study) if trial.state == TrialState.COMPLETE]
        if not done:
            msg = "no trial is finished: other processes run all of them"
            raise UsageError(msg, hint="wait for them, then run this command again")
        folds = [i for i, rehearsal in enumerate(self.rehearsals) if rehearsal.judged.has_both_classes]
        figures = np.array([[trial.user_attrs[f"fold_{i}"] for i in folds] for trial in done])
        best = int(np.argmax(figures.mean(axis=1)))
        gain = self._gain(done, figures, folds, defaults)
        kept_defaults = gain is None or not gain.low > 0
        params = dict(defaults) if kept_defaults else {**defaults, **done[best].params}
        means = [float(values.mean()) for trial, values in zip(done, figures, strict=True) if _is_default(trial)]
        summary = SearchSummary(
            trials=_counted(study),
            complete=len(done),
            pruned=sum(trial.state == TrialState.PRUNED for trial in _trials(study)),
            objective=self.objective.name,
            default_value=round(means[0], 6) if means else None,
            best_value=round(float(figures[best].mean()), 6),
            best_params={**defaults, **done[best].params},
            gain=None if gain is None else gain.rounded(),
            gain_judged="on folds that the choice did not see" if len(folds) > 1 else "on the fold it was chosen by",
            trees_at_most=TreeLimits(self._brief(defaults)[0].iterations, self.settings.iterations),
            kept_defaults=kept_defaults,
            search={name: SearchSpan(**span.model_dump()) for name, span in self.settings.search.items()},
            shared_study=any(trial.user_attrs.get(_SHARED, False) for trial in _trials(study)),
        )
        return Tuned(params, gain, kept_defaults, summary)

    def _gain(
        self,
        done: Sequence[optuna.trial.FrozenTrial],
        figures: NDArray[np.float64],
        folds: Sequence[int],
        defaults: Mapping[str, float],
    ) -> Gain | None:
        """Judge each fold with the parameters that were best on the others, against the defaults, on the same rows."""
        self._say(0, 2 * len(folds), "what tuning bought")
        new, old = [], []
        for place, i in enumerate(folds):
            others = np.delete(figures, place, axis=1) if len(folds) > 1 else figures
            chosen = done[int(np.argmax(others.mean(axis=1)))]
            new.append(self._fitted({**defaults, **chosen.params}, i)[1])
            old.append(self._fitted(defaults, i)[1])
            self._say(2 * place + 2, 2 * len(folds), "what tuning bought")
        return paired_gain(self.objective, [self.rehearsals[i].judged for i in folds], new, old)


def _is_default(trial: optuna.trial.FrozenTrial) -> bool:
    return bool(trial.user_attrs.get(_DEFAULTS, False))


def _trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _gate(journal: Path | None) -> Gate:
    """Return a lock between the processes of a study: a trial is opened and signed, or given up, by one at a time."""
    if journal is None:
        return contextlib.nullcontext
    return _FileLock(journal.with_name(journal.name + ".gate")).held


def _counted(study: optuna.Study) -> int:
    """Count the trials that have a place: finished, pruned or under way; not those that were given up."""
    from optuna.trial import TrialState

    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]
    return len(study.get_trials(deepcopy=False, states=states))


def _identity() -> str:
    """Name this process: host, process id, and where the system tells it, when the process began."""
    return f"{socket.gethostname()}:{os.getpid()}:{_birth(os.getpid())}"


def _birth(pid: int) -> str:
    """Return the start of a process in clock ticks, to distinguish it from a later one with its id; "" if unknown."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return ""


def _alive(owner: str) -> bool:
    """Return whether another process that owns a trial may still be at work; this process runs one trial at a time."""
    host, _, rest = owner.partition(":")
    pid, _, birth = rest.partition(":")
    if host != socket.gethostname():
        return bool(host)
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return _birth(int(pid)) == birth
    return _birth(int(pid)) == birth


def _journal_storage(path: Path, progress: Progress) -> optuna.storages.JournalStorage:
    """Open the journal of trials; a last line cut off by a kill is dropped, a damaged journal is begun again."""
    from optuna.storages import JournalStorage

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = _FileLock(path.with_name(path.name + ".lock"))
    with lock.held():
        _drop_torn_line(path, progress)
        _drop_damaged(path, progress)
    return JournalStorage(_sealed_journal(path, lock))


def _drop_damaged(path: Path, progress: Progress) -> None:
    """Remove a journal in which a line is not what was written, and say so."""
    if not path.exists():
        return
    if path.is_file() and all(map(_is_sound, path.read_bytes().splitlines())):
        return
    progress.warn(f"{path} is not what was written: the search starts again")
    path.unlink()


def _is_sound(line: bytes) -> bool:
    try:
        log = json.loads(line)
        return bool(log.pop(_SEAL) == _line_digest(log))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return False


def _line_digest(log: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(log, separators=(",", ":")).encode()).hexdigest()[:32]


def _sealed_journal(path: Path, lock: Any) -> optuna.storages.journal.BaseJournalBackend:
    """Return optuna's journal, every line of which has a digest of itself."""
    from optuna.storages.journal import JournalFileBackend

    class Sealed(JournalFileBackend):
        """Adds and verifies the digests."""

        def append_logs(self, logs: list[dict[str, object]]) -> None:
            """Write lines."""
            super().append_logs([{**log, _SEAL: _line_digest(log)} for log in logs])

        def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
            """Read lines."""
            for log in super().read_logs(log_number_from):
                if log.pop(_SEAL, None) != _line_digest(log):
                    msg = f"{path} was damaged while the search ran"
                    raise UsageError(msg, hint="start the search again")
                yield log

    return Sealed(str(path), lock_obj=lock)


def _drop_torn_line(path: Path, progress: Progress) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        progress.note(f"{path}: the last line was cut off; what it was about is done again")
        with path.open("r+b") as file:
            file.truncate(whole)


class _FileLock:
    """A lock that the system takes back when its holder dies, unlike a lock file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        import fcntl

        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()
