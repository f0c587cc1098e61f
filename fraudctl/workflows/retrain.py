"""``retrain``: from newer data to a champion, by check, training, gate and promotion, with a receipt of each step.

Nothing here judges a model: `check_data`, `train_model`, `evaluate_model` and the registry do, as they do for the
commands of their names. What is owned here is the order, the receipts, and when nothing is done at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fraudctl import runs
from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.figures import count, percent
from fraudctl.workflows.check import check_data
from fraudctl.workflows.evaluate import evaluate_model
from fraudctl.workflows.evidence import section_digests
from fraudctl.workflows.lineage import judging_project, recipe_facts
from fraudctl.workflows.refit import AGREEMENT, refit_model
from fraudctl.workflows.retrained import Outcome, RetrainResult, RetrainStep
from fraudctl.workflows.situation import (
    DueRule,
    MonitorState,
    Situation,
    differing,
    frozen,
    look,
    monitor_state,
    too_soon,
)
from fraudctl.workflows.train import train_model
from fraudctl.workflows.versions import open_bundle, user_name

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle
    from fraudctl.registry import Entry
    from fraudctl.runs import Run, Step

MOST_FAILURES: Final = 2
"""Gates that fail in a row, after which no run begins until a person has acknowledged them."""
_GATES: Final[Mapping[str, Outcome]] = {
    "pass": "passed",
    "fail": "gate failed",
    "inconclusive": "inconclusive",
    "refused": "refused",
}


def retrain_model(
    project: Project,
    *,
    conditions: Sequence[str] = ("always",),
    refit: bool = False,
    promote: bool = False,
    dry_run: bool = False,
    resume: bool = False,
    now: Callable[[], datetime] | None = None,
    by: str | None = None,
    progress: Progress | None = None,
) -> RetrainResult:
    """Train on the newest mature data, gate the model against the champion, and promote it if that was asked.

    Each step leaves a receipt in ``runs/``. A run that was killed goes on where it was, with the next call on the same
    data; on other data it is given up, and a new one begins.

    Parameters
    ----------
    conditions
        ``always``, ``monitor``, ``age=30d``, ``frauds=300``: a run begins where any of them holds.
    refit
        Fit the gated model again on the newest labels; it ships if it acts alike on 99 % of the last week's events.
    promote
        Make the model the champion if its gate passes.
    dry_run
        Only say what would be done.
    resume
        Only finish a run that was begun, whatever the conditions say.
    now, by
        When and by whom, for receipts and the registry's log; by default the clock, and the user of this process.

    Raises
    ------
    UsageError
        There is no ``[gate]``, it has no rule on a champion that would be replaced, or the data have no time.
    DataError
        The data cannot be used, changed while the run was under way, or since the run that is to be resumed.
    BundleError
        The champion's folder is gone, or bundle, log or receipts are damaged.
    """
    progress = progress or Silent()
    asked = tuple(DueRule.parse(text) for text in conditions)
    _require_gate(project, promote=promote)
    desk = _Desk(project, refit, promote, now or _clock, by or user_name(), progress)
    if dry_run:
        return desk.plan(asked)
    with runs.locked(project.runs_dir) as free:
        if not free:
            return RetrainResult("running", "another retraining of this project is under way; nothing was done")
        return desk.resume() if resume else desk.begin(asked)


def acknowledge_failures(project: Project, *, note: str, now: datetime | None = None, by: str | None = None) -> str:
    """Acknowledge gates that failed, so that retraining goes on; return the run in which that is noted.

    Parameters
    ----------
    note
        What was found and done, for the receipt.
    now, by
        When and who.

    Raises
    ------
    UsageError
        Nothing waits to be acknowledged, there is no note, or a run is under way.
    """
    if not note.strip():
        msg = "an acknowledgement needs a note: what was found, and what was done about it"
        raise UsageError(msg)
    with runs.locked(project.runs_dir) as free:
        if not free:
            msg = "a retraining of this project is under way"
            raise UsageError(msg, hint="wait until it has ended")
        history = runs.history(project.runs_dir)
        if not runs.failures_in_a_row(history):
            msg = "no failed gate waits to be acknowledged"
            raise UsageError(msg)
        facts = {"note": note.strip()}
        return runs.add(history[-1], "acknowledged", facts, now=now or datetime.now(UTC), by=by or user_name()).name


def _clock() -> datetime:
    return datetime.now(UTC)


def _require_gate(project: Project, *, promote: bool) -> None:
    from fraudctl.registry import champion

    if project.gate is None:
        msg = "the project has no [gate], so nothing says which model may ship"
        raise UsageError(msg, hint="write the floors that a model must reach into [gate]")
    if promote and project.gate.champion is None and champion(project.models_dir) is not None:
        msg = "[gate] has no rule on the champion: a worse model could replace it"
        raise UsageError(msg, hint='add champion = { metric = "savings", no_worse_than = 0.02 } to [gate]')


@dataclass
class _Desk:
    """One call of ``retrain``: what was asked, and who asked."""

    project: Project
    refit: bool
    promote: bool
    now: Callable[[], datetime]
    by: str
    progress: Progress

    # ------------------------------------------------------------ which run

    def plan(self, asked: Sequence[DueRule]) -> RetrainResult:
        """Return what would be done, without doing it."""
        situation, history = look(self.project), runs.history(self.project.runs_dir)
        due, words = self._due(asked, situation)
        found = self._result("planned", "", situation=situation, conditions=words)
        unfinished = _unfinished(history)
        against = self._not_now(situation, history)
        if unfinished is not None and self._continues(unfinished, situation):
            done = ", ".join(item.step for item in unfinished.receipts)
            said = f"run {unfinished.name} would go on after {done}"
        elif not due:
            said = f"not due: {'; '.join(words)}"
        elif against is not None:
            said = f"nothing would be done: {against[1]}"
        else:
            steps = [
                "check",
                "train",
                "gate",
                *(["refit"] if self.refit else []),
                *(["promote"] if self.promote else []),
            ]
            said = f"would {', '.join(steps)} as of {situation.as_of:%Y-%m-%d %H:%M} ({'; '.join(words)})"
        return replace(found, sentence=said)

    def begin(self, asked: Sequence[DueRule]) -> RetrainResult:
        """Go on with a run that was killed, repeat the answer of one on the same inputs, or begin a new one."""
        situation, history = look(self.project), runs.history(self.project.runs_dir)
        due, words = self._due(asked, situation)
        unfinished = _unfinished(history)
        if unfinished is not None and self._continues(unfinished, situation):
            self.progress.note(f"run {unfinished.name} goes on")
            return self._work(unfinished, situation)
        inputs = frozen(self.project, situation, refit=self.refit, promote=self.promote)
        last = history[-1] if history else None
        if last is not None and last.ended and last.facts("inputs")["key"] == inputs["key"]:
            return self._said_before(last, situation)
        if not due:
            return self._result("not due", "; ".join(words), situation=situation, conditions=words)
        against = self._not_now(situation, history)
        if against is not None:
            return self._result(against[0], against[1], situation=situation, conditions=words)
        if unfinished is not None:
            self._give_up(unfinished, inputs)
            history = runs.history(self.project.runs_dir)
        inputs["log"] = len(self._log())
        run = runs.begin(
            self.project.runs_dir, history, as_of=situation.as_of, inputs=inputs, now=self.now(), by=self.by
        )
        return replace(self._work(run, situation), conditions=words)

    def resume(self) -> RetrainResult:
        """Finish the run that was begun; refuse where its inputs are no longer there."""
        run = _unfinished(runs.history(self.project.runs_dir))
        if run is None:
            return RetrainResult("not due", "no run is unfinished; nothing was done")
        before, situation = run.facts("inputs"), look(self.project)
        self.refit, self.promote = before["refit"], before["promote"]
        if not self._continues(run, situation):
            now = frozen(self.project, situation, refit=self.refit, promote=self.promote)
            msg = f"run {run.name} cannot go on: what it is made of changed: {'; '.join(differing(before, now))}"
            raise DataError(msg, hint="`fraudctl retrain` without --resume gives it up and begins a new run")
        return self._work(run, situation)

    def _continues(self, run: Run, situation: Situation) -> bool:
        """Say whether an unfinished run is made of the present inputs; its own promotion changes none of them."""
        before = run.facts("inputs")
        now = frozen(self.project, situation, refit=self.refit, promote=self.promote)
        ships = run.facts("refit").get("version") or run.facts("train").get("version")
        return bool(before["same"] == now["same"] and now["champion"] in {before["champion"], ships})

    def _due(self, asked: Sequence[DueRule], situation: Situation) -> tuple[bool, tuple[str, ...]]:
        """Return whether a condition holds, and each in words; drift alone takes the promotion out."""
        found = [(item.kind, *item.asked(situation)) for item in asked]
        words = tuple(text for _, _, text in found)
        holding = {kind for kind, holds, _ in found if holds}
        if self.promote and holding == {"monitor"} and situation.monitor is not None and not situation.monitor.harm:
            self.promote = False
            words += ("drift starts a training, never a promotion",)
        return bool(holding), words

    def _not_now(self, situation: Situation, history: Sequence[Run]) -> tuple[Outcome, str] | None:
        """Return why no run may begin, whatever the conditions say."""
        n = runs.failures_in_a_row(history)
        if n >= MOST_FAILURES:
            text = f"{n} gates failed in a row; no run begins until that is acknowledged: --acknowledge NOTE"
            return "stopped", text
        if self.promote and situation.monitor is not None and situation.monitor.data:
            return "data alarm", _alarmed(situation.monitor)
        if self.promote and situation.labels:
            return "data alarm", _mistrusted(situation.labels)
        nothing = situation.nothing_new(self.project)
        if nothing is None and self.promote:
            nothing = too_soon(self.project, self._log(), situation.known_until)
        return None if nothing is None else ("not due", nothing)

    def _give_up(self, run: Run, inputs: Mapping[str, Any]) -> None:
        said = f"given up: {'; '.join(differing(run.facts('inputs'), inputs))} changed before it was done"
        self.progress.warn(f"run {run.name} is {said}")
        self._end(run, "superseded", said)

    def _said_before(self, run: Run, situation: Situation) -> RetrainResult:
        from fraudctl import registry

        end = run.facts("end")
        said = f"nothing was done, for run {run.name} had the same inputs and ended with: {end['sentence']}"
        champion = registry.champion(self.project.models_dir)
        if end["outcome"] == "promoted" and champion != end["version"]:
            said = f"{said}; since then {champion} was made the champion"
        return self._result(end["outcome"], said, run=run, situation=situation)

    # ------------------------------------------------------------ the steps

    def _work(self, run: Run, situation: Situation) -> RetrainResult:
        run, stop = self._checked(run)
        if stop is None:
            run = self._trained(run, situation)
            run, stop = self._gated(run)
        if stop is None and self.refit:
            run = self._refitted(run)
        if stop is None and self.promote:
            run, stop = self._promoted(run, situation)
        outcome, sentence = stop or ("passed", f"{_ships(run)} passed its gate; {_rest(run)}")
        run = self._end(run, outcome, sentence)
        return self._result(outcome, sentence, run=run, situation=situation)

    def _add(self, run: Run, step: Step, facts: Mapping[str, Any]) -> Run:
        return runs.add(run, step, facts, now=self.now(), by=self.by)

    def _end(self, run: Run, outcome: Outcome, sentence: str) -> Run:
        return self._add(run, "end", {"outcome": outcome, "sentence": sentence, "version": _ships(run)})

    def _checked(self, run: Run) -> tuple[Run, tuple[Outcome, str] | None]:
        if run.get("check") is None:
            report = check_data(self.project, now=self.now(), progress=self.progress)
            errors = [{"id": item.id, "where": item.where, "what": item.what} for item in report.findings][
                : report.n_errors
            ]
            run = self._add(run, "check", {"verdict": report.verdict, "warnings": report.n_warnings, "errors": errors})
        errors = run.facts("check")["errors"]
        if not errors:
            return run, None
        first = f"{errors[0]['where']}: {errors[0]['what']}"
        said = f"the data have {count(len(errors), 'error')}, so nothing was trained: {first}"
        return run, ("check failed", said)

    def _trained(self, run: Run, situation: Situation) -> Run:
        if run.get("train") is not None:
            return run
        version, found = self._trained_before(run), True
        if version is None:
            found = False
            version = train_model(self.project, as_of=situation.as_of, by=self.by, progress=self.progress).version
        bundle = open_bundle(self.project, version)
        self._require_same(run, bundle.facts["data_fingerprint"])
        train = bundle.facts["training"]["train"]
        facts = {"version": version, "manifest": _manifest(bundle), "found": found, "rows": train["rows"]}
        return self._add(run, "train", {**facts, "frauds": train["frauds"]})

    def _trained_before(self, run: Run) -> str | None:
        """Return the version that this training writes, where it is there already: a run was killed after it."""
        from fraudctl.bundle import list_bundles, load_bundle

        inputs = run.facts("inputs")
        wanted = {
            "data_fingerprint": inputs["fingerprint"], "recipe": recipe_facts(self.project), "parent": None,
        }  # fmt: skip
        for path in reversed(list_bundles(self.project.models_dir)):
            bundle = load_bundle(path)
            same = bundle.as_of == datetime.fromisoformat(inputs["as_of"]) and "refit_of" not in bundle.facts
            same &= bundle.manifest["project_file"] == self.project.text
            same &= dict(bundle.manifest["packages"]) == inputs["packages"]
            if same and all(bundle.facts.get(key) == value for key, value in wanted.items()):
                return bundle.version
        return None

    def _gated(self, run: Run) -> tuple[Run, tuple[Outcome, str] | None]:
        if run.get("gate") is None:
            version = run.facts("train")["version"]
            gate = self._judged_before(run, version)
            if gate is None:
                evaluate_model(
                    self.project, model=version, champion=run.facts("inputs")["champion"], require_gate=True,
                    now=self.now(), by=self.by, progress=self.progress,
                )  # fmt: skip
                gate = self._latest_gate(version)
            if gate is None or gate.evidence is None:
                msg = f"the log of the registry lacks the gate of {version} that was just run"
                raise BundleError(msg, hint="does another process write to the folder of the models?")
            evidence = gate.evidence
            self._require_same(run, evidence["data"])
            kept = ("period", "events", "frauds", "evaluation", "report", "not_own")
            facts = {"version": version, "verdict": gate.verdict, "reason": gate.reason, "noted_at": gate.at}
            run = self._add(run, "gate", {**facts, **{name: evidence[name] for name in kept}})
        found = run.facts("gate")
        outcome = _GATES[found["verdict"]]
        return run, None if outcome == "passed" else (outcome, f"gate of {found['version']}: {found['reason']}")

    def _judged_before(self, run: Run, version: str) -> Entry | None:
        """Return the verdict on this version, champion, data and rules that the log has already."""
        gate = self._latest_gate(version)
        if gate is None or gate.evidence is None or gate.evidence.get("not_own"):
            return None
        inputs = run.facts("inputs")
        sections = section_digests(judging_project(open_bundle(self.project, version), self.project))
        same = gate.evidence.get("data") == inputs["fingerprint"] and gate.evidence.get("sections") == sections
        same &= gate.evidence.get("project_file") == inputs["project_file"]
        return gate if same and gate.previous == inputs["champion"] else None

    def _latest_gate(self, version: str) -> Entry | None:
        entries = self._log()
        return next((item for item in reversed(entries) if item.event == "gate" and item.version == version), None)

    def _log(self) -> tuple[Entry, ...]:
        from fraudctl import registry

        return registry.history(self.project.models_dir)

    def _refitted(self, run: Run) -> Run:
        if run.get("refit") is not None:
            return run
        gated = open_bundle(self.project, run.facts("gate")["version"])
        found = refit_model(self.project, gated, by=self.by, now=self.now(), progress=self.progress)
        facts = {"events": found.n_events, "alike": found.n_alike, "asked": AGREEMENT, "as_of": found.as_of.isoformat()}
        return self._add(run, "refit", {"version": found.version, **facts})

    def _promoted(self, run: Run, situation: Situation) -> tuple[Run, tuple[Outcome, str] | None]:
        from fraudctl import registry

        version, inputs = _ships(run) or "", run.facts("inputs")
        if run.get("promote") is None:
            entry = _promoted_before(self._log()[inputs["log"] :], version)
            if entry is None:
                alarm = monitor_state(self.project)
                if alarm is not None and alarm.data:
                    return run, ("data alarm", f"{version} passed its gate, and is not promoted: {_alarmed(alarm)}")
                held = too_soon(self.project, self._log(), situation.known_until)
                if held is not None:
                    return run, ("passed", f"{version} passed its gate, and is not promoted: {held}")
                bundle = open_bundle(self.project, version)
                facts = {"known_until": inputs["known_until"], "run": run.name}
                sections = section_digests(judging_project(bundle, self.project))
                try:
                    entry = registry.promote(
                        self.project.models_dir, version, now=self.now(), by=self.by, sections=sections, facts=facts
                    )
                except registry.PromotionError as error:
                    return run, ("objected", f"{version} is not promoted: {error.message}")
            run = self._add(run, "promote", {"version": version, "previous": entry.previous, "noted_at": entry.at})
        before = run.facts("promote")["previous"]
        followed = "the first champion" if before is None else f"the champion after {before}"
        return run, ("promoted", f"{version} is {followed}; {_rest(run)}")

    def _require_same(self, run: Run, fingerprint: str) -> None:
        if fingerprint != run.facts("inputs")["fingerprint"]:
            msg = f"the data changed while run {run.name} was under way"
            raise DataError(msg, hint="run it again when nothing writes to the data; a new run begins")

    def _result(
        self, outcome: Outcome, sentence: str, *, situation: Situation, run: Run | None = None,
        conditions: tuple[str, ...] = (),
    ) -> RetrainResult:  # fmt: skip
        receipts = () if run is None else run.receipts
        inputs = {} if run is None else run.facts("inputs")
        champion = None if situation.champion is None else situation.champion.version
        return RetrainResult(
            outcome,
            sentence,
            conditions=conditions,
            run=None if run is None else run.name,
            known_until=situation.known_until,
            as_of=situation.as_of if run is None else datetime.fromisoformat(inputs["as_of"]),
            champion=champion if run is None else inputs["champion"],
            version=None if run is None else _ships(run),
            steps=tuple(RetrainStep(item.step, item.at, item.by, dict(item.facts)) for item in receipts),
            inputs=situation.files,
        )


def _alarmed(state: MonitorState) -> str:
    """Return the sentence on an alarm of the data."""
    said = "; ".join(state.data[:2])
    at = f"{state.as_of:%Y-%m-%d %H:%M}"
    return f"`monitor` says of the data, as of {at}: {said}; nothing is promoted until that is acknowledged"


def _mistrusted(faults: Sequence[str]) -> str:
    """Return the sentence on labels that may judge no model."""
    acknowledge = "nothing is promoted until `fraudctl monitor` has shown that, and it is acknowledged"
    return f"{'; '.join(faults)}; {acknowledge}"


def _unfinished(history: Sequence[Run]) -> Run | None:
    return history[-1] if history and not history[-1].ended else None


def _promoted_before(entries: Sequence[Entry], version: str) -> Entry | None:
    """Return the promotion that a killed run made, even if the version has been rolled back since."""
    return next((item for item in reversed(entries) if item.event == "promote" and item.version == version), None)


def _ships(run: Run) -> str | None:
    """Return the version that ships: the refit where it acts like the gated one."""
    return run.facts("refit").get("version") or run.facts("train").get("version")


def _rest(run: Run) -> str:
    """Return what else there is to say of a run whose gate passed."""
    gate, refit = run.facts("gate"), run.facts("refit")
    said = gate["reason"]
    if not refit:
        return str(said)
    alike = f"acts like {gate['version']} on {refit['alike']:,} of {refit['events']:,} events of the last week"
    if refit["version"] is None:
        return f"the refit {alike}, asked {percent(refit['asked'])}, so that the gated model ships; {said}"
    return f"refitted on the newest labels, it {alike}; {said}"


def _manifest(bundle: Bundle) -> str:
    import hashlib

    return hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()
