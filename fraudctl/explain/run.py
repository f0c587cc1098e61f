"""One explanation from decided events: chooses what is looked at, runs every part, collects the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, FloatArray, IntArray
from fraudctl.costs import baseline, cost_matrix, perfect_cost
from fraudctl.evaluate import Replay
from fraudctl.explain.autopsy import MOST_LEGIT, Autopsy, dissect
from fraudctl.explain.broken import find_broken
from fraudctl.explain.campaigns import Campaigns, find_campaigns
from fraudctl.explain.causes import Causes, find_causes
from fraudctl.explain.clusters import FoundClusters, find_clusters, group
from fraudctl.explain.contrast import Contrast, contrast
from fraudctl.explain.decided import find_decided
from fraudctl.explain.findings import find_findings
from fraudctl.explain.money import find_money, group_sums
from fraudctl.explain.pairs import Interact, Pairs, find_pairs
from fraudctl.explain.reasons import Reason, give_reasons
from fraudctl.explain.result import Basis, CampaignLink, CaughtCase, ErrorCase, Explanation, Method, Totals
from fraudctl.explain.scene import FALSE_ALARM, MISSED, Contribute, FeatureLike, ReadColumns, Scene, make_scene
from fraudctl.explain.slices import PERMUTATIONS, find_slices
from fraudctl.explain.threshold import sweep
from fraudctl.policy.constant import reach_of
from fraudctl.policy.provenance import DecidedBy
from fraudctl.progress import Watch
from fraudctl.project import Project
from fraudctl.text.figures import whole
from fraudctl.text.wording import cost_words

MIN_ERRORS: Final = 30
"""Sections with fewer errors say so instead of drawing."""
SAMPLE: Final = 100_000
MOST_PEERS: Final = 20_000
MOST_EXPLAINED: Final = 50_000
STEPS: Final = 13
"""Steps of an explanation as progress counts them; the last is the caller's, who writes it down."""

Progress = Callable[[str, int, int], None]


def explain(
    scored: pl.DataFrame,
    history: pl.DataFrame,
    *,
    project: Project,
    features: Sequence[FeatureLike],
    contribute: Contribute,
    replay: Replay,
    model: str,
    interact: Interact | None = None,
    as_of: datetime | None = None,
    start: datetime | None = None,
    until: datetime | None = None,
    seed: int = 0,
    sample: int = SAMPLE,
    permutations: int = PERMUTATIONS,
    threads: int = -1,
    basis: Basis | None = None,
    columns: ReadColumns | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain the errors of a period.

    Parameters
    ----------
    scored
        Mature, labelled feature-table rows of the period with ``y_prob``, ``action`` and ``cost``.
    history
        All events with labels and entities, of all times; with the features where ``columns`` is None.
    contribute
        The model's contributions, as a function of events.
    replay
        All events of the period with the policy that decided them. Those it judges are ``scored``, in the same order.
    interact
        The model's interactions, where they are asked for: computed for the errors only.
    start, until
        The period: ``start <= event_time < until``, both or neither. By default it is the local days from that of the
        first event to that of the last.
    sample
        Most legitimate passed events that are looked at closely, in slices, contributions (at most 20,000) and the
        autopsy (at most 8,000). Totals, causes, campaigns and the sweep always take all events.
        All errors and all alerts are always looked at, up to 50,000.
    permutations
        Of the slice search; at least 200.
    basis
        What the decisions rest on, for the section on method.
    columns
        Reads features of all events of ``history``, in its order: the usual values of some are looked up.

    Raises
    ------
    DataError
        Nothing to explain, or columns are missing.
    """
    asked = None if start is None or until is None else (start, until)
    scene = make_scene(scored, history, project=project, features=features, period=asked, columns=columns)
    tell = progress or (lambda *_: None)
    absent: dict[str, str] = {}
    at = ("", 0)

    def step(name: str) -> None:
        nonlocal at
        at = name, at[1] + 1
        tell(*at, STEPS)

    def say(what: str) -> None:
        tell(f"{at[0]}: {what}", at[1], STEPS)

    step("causes")
    causes = find_causes(scene, replay=replay)
    step("threshold")
    swept = sweep(scene, replay=replay, watch=say)
    step("money")
    money = find_money(scene, watch=say)
    step("campaigns")
    campaigns = find_campaigns(scene, watch=say)
    step("contributions")
    rows, weight = choose_rows(scene, sample=sample, seed=seed)
    close = np.concatenate([_explained(scene, seed), _peers(scene, seed, most=min(sample, MOST_PEERS))])
    values = np.asarray(contribute(scene.scored[close])[:, :-1], dtype=np.float64)
    step("contrasts")
    contrasts = _contrasts(scene, close, values, seed, absent, say)
    step("interactions")
    pairs = _pairs(scene, interact, seed, absent)
    step("clusters")
    clusters, cluster_of = _clusters(scene, close, values, seed, absent)
    step("slices")
    slices = find_slices(scene, rows=rows, weight=weight, seed=seed, permutations=permutations, watch=say)
    step("autopsy")
    autopsy = _autopsy(scene, seed, sample, threads, absent, say)
    step("totals")
    totals = _totals(scene)
    broken = find_broken(scene, watch=say)
    say("parts of the policy")
    decided = find_decided(scene)
    currency = project.costs.currency
    findings = find_findings(
        totals=totals, slices=slices, broken=broken, causes=causes.totals, campaigns=campaigns.total, sweep=swept,
        clusters=clusters.items, autopsy=autopsy, decided=decided, currency=currency,
    )  # fmt: skip
    step("errors")
    errors = _errors(scene, close, values, causes, campaigns, cluster_of, say)
    say("caught frauds")
    return Explanation(
        project=project.project.name, model=model, as_of=as_of, start=scene.span[0], until=scene.span[1],
        timezone=project.data.timezone, currency=currency,
        cost_words=cost_words(cost_matrix(project.costs)), totals=totals, findings=findings, causes=causes.totals,
        lookback_days=causes.lookback_days, money=money, days=_days(scene), sweep=swept,
        missed_contrast=contrasts[0], false_alarm_contrast=contrasts[1], pairs=pairs, clusters=clusters.items,
        n_unstable_clusters=clusters.n_unstable, campaigns=campaigns.items, campaign_total=campaigns.total,
        n_outside_campaigns=int((campaigns.member < 0).sum()), slices=slices, broken=broken, autopsy=autopsy,
        decided=decided, errors=errors, caught=_caught(scene, close, values, seed),
        absent=absent | {f"slices.{k}": v for k, v in slices.reasons.items()},
        method=_method(scene, rows, close, seed, permutations, basis),
    )  # fmt: skip


def choose_rows(scene: Scene, *, sample: int, seed: int) -> tuple[IntArray, FloatArray]:
    """Choose what is searched closely: all frauds, all alerts, and at most ``sample`` passed legitimate events.

    Returns
    -------
    positions in time order and how many events each stands for
    """
    keep = scene.y_true | scene.alert
    passed = np.flatnonzero(~keep)
    weight = np.ones(len(keep))
    if len(passed) > sample:
        drawn = np.random.default_rng([seed, 11]).choice(passed, sample, replace=False)
        weight[drawn] = len(passed) / sample
        keep = keep.copy()
        keep[drawn] = True
    else:
        keep = np.ones_like(keep)
    rows = np.flatnonzero(keep)
    return rows, weight[rows]


def _explained(scene: Scene, seed: int) -> IntArray:
    """Return all errors and all alerts; of very many caught frauds a sample."""
    errors = np.flatnonzero(scene.missed | scene.false_alarm)
    caught = np.flatnonzero(scene.caught)
    if len(caught) > MOST_EXPLAINED:
        caught = np.random.default_rng([seed, 12]).choice(caught, MOST_EXPLAINED, replace=False)
    return np.concatenate([errors, np.sort(caught)])


def _peers(scene: Scene, seed: int, *, most: int) -> IntArray:
    """Return the positions of the passed legitimate events that errors are compared with: all, or ``most`` of them."""
    passed = np.flatnonzero(scene.passed)
    if len(passed) <= most:
        return passed
    return np.sort(np.random.default_rng([seed, 13]).choice(passed, most, replace=False))


def _too_few(n: int, what: str) -> str:
    return f"only {whole(n)} {what}; at least {MIN_ERRORS} are needed to say something that is not chance"


def _contrasts(
    scene: Scene, close: IntArray, values: FloatArray, seed: int, absent: dict[str, str], watch: Watch
) -> tuple[Contrast | None, Contrast | None]:
    clusters = {name: scene.scored[name].gather(close) for name in scene.entities}
    out: list[Contrast | None] = []
    sides = (("missed_contrast", scene.missed, scene.caught), ("false_alarm_contrast", scene.false_alarm, scene.passed))
    for k, (name, errors, peers) in enumerate((name, a & scene.by_model, b & scene.by_model) for name, a, b in sides):
        n = min(int(errors.sum()), int(peers.sum()))
        if n < MIN_ERRORS:
            absent[name] = _too_few(n, "errors or peers")
            out.append(None)
            continue
        mine: BoolArray = errors[close]
        out.append(
            contrast(
                values,
                errors=mine,
                peers=peers[close],
                features=scene.features,
                clusters=clusters,
                seed=seed + k,
                watch=watch,
            )
        )
    return out[0], out[1]


def _pairs(scene: Scene, interact: Interact | None, seed: int, absent: dict[str, str]) -> Pairs | None:
    if interact is None:
        absent["pairs"] = "interactions are computed on request: fraudctl explain --interactions"
        return None
    n = int((scene.missed | scene.false_alarm).sum())
    if n < MIN_ERRORS:
        absent["pairs"] = _too_few(n, "errors")
        return None
    return find_pairs(scene, interact=interact, seed=seed)


def _clusters(
    scene: Scene, close: IntArray, values: FloatArray, seed: int, absent: dict[str, str]
) -> tuple[FoundClusters, dict[int, int]]:
    """Cluster the false positives; also give the cluster of each by its position in the scene."""
    n = int((scene.false_alarm & scene.by_model).sum())
    if n < MIN_ERRORS:
        absent["clusters"] = _too_few(n, "false positives that the model made")
        return FoundClusters(np.empty(0, dtype=np.int64), (), 0), {}
    at, mine = np.flatnonzero(scene.alert & scene.by_model), np.flatnonzero((scene.false_alarm & scene.by_model)[close])
    members = close[mine]
    found = find_clusters(
        scene.scored[at], values[mine], member_of=scene.false_alarm[at], cost=scene.cost[at],
        is_fraud=scene.y_true[at], features=scene.features, seed=seed,
    )  # fmt: skip
    return found, {int(row): int(k) for row, k in zip(members, found.member, strict=True) if k >= 0}


def _caught(scene: Scene, close: IntArray, values: FloatArray, seed: int) -> tuple[CaughtCase, ...]:
    """Group the frauds that the model caught by why they were alerted on."""
    mine = np.flatnonzero((scene.caught & scene.by_model)[close])
    ids = scene.scored["event_id"].gather(close[mine]).to_list()
    groups = group(values[mine], seed=seed).code.tolist()
    return tuple(CaughtCase(item, group) for item, group in zip(ids, groups, strict=True))


def _autopsy(
    scene: Scene, seed: int, sample: int, threads: int, absent: dict[str, str], watch: Callable[[str], object]
) -> Autopsy | None:
    n = min(int(scene.missed.sum()), int(scene.passed.sum()))
    if n < MIN_ERRORS:
        absent["autopsy"] = _too_few(n, "missed frauds or passed events")
        return None
    return dissect(scene, seed=seed, most_legit=min(sample, MOST_LEGIT), threads=threads, watch=watch)


def _totals(scene: Scene) -> Totals:
    y_true = scene.y_true.astype(np.int64)
    matrix = cost_matrix(scene.project.costs)
    reach = reach_of(scene.scored, scene.project, matrix)
    base = baseline(scene.cost_table, y_true, matrix, reach=reach)
    has_amount = "amount" in scene.scored.columns
    amounts = scene.weight * scene.scored["amount"].fill_null(0.0).to_numpy() if has_amount else None
    return Totals(
        n_events=scene.scored.height, n_frauds=int(y_true.sum()), n_alerts=int(scene.alert.sum()),
        n_missed=int(scene.missed.sum()), n_caught=int(scene.caught.sum()),
        n_false_alarms=int(scene.false_alarm.sum()), cost=float(scene.cost.sum()),
        missed_cost=float(scene.cost[scene.missed].sum()),
        false_alarm_cost=float(scene.cost[scene.false_alarm].sum()),
        caught_cost=float(scene.cost[scene.caught].sum()), base=base.chosen,
        perfect_cost=float(perfect_cost(scene.cost_table, y_true).sum()),
        fraud_amount=None if amounts is None else float(amounts[scene.y_true].sum()),
    )  # fmt: skip


def _days(scene: Scene) -> tuple[tuple[Any, float, float], ...]:
    losses = {
        "missed": np.where(scene.missed, scene.cost, 0.0),
        "false": np.where(scene.false_alarm, scene.cost, 0.0),
    }
    return tuple(group_sums(scene.day, losses).select("key", "missed", "false").iter_rows())


def _errors(
    scene: Scene, close: IntArray, values: FloatArray, causes: Causes, campaigns: Campaigns, cluster_of: dict[int, int],
    watch: Watch,
) -> tuple[ErrorCase, ...]:  # fmt: skip
    """List every error with its reasons, the costliest first."""
    n = int((scene.missed | scene.false_alarm).sum())
    rows = close[:n]
    frame = scene.scored[rows]
    reasons = give_reasons(
        frame, values[:n], towards_alert=scene.alert[rows], features=scene.features,
        protected=scene.project.features.protected, history=scene.history, columns=scene.columns,
        entities=scene.entities, watch=watch,
    )  # fmt: skip
    cause = dict(zip(causes.rows.tolist(), causes.cause, strict=True))
    campaign = dict(zip(campaigns.rows.tolist(), campaigns.member.tolist(), strict=True))
    has_amount = "amount" in frame.columns
    cases = [
        _case(
            scene, row, record, cause.get(row), campaign.get(row, -1), campaigns, cluster_of.get(row), why, has_amount
        )
        for row, record, why in zip(rows.tolist(), frame.iter_rows(named=True), reasons, strict=True)
    ]
    return tuple(sorted(cases, key=lambda item: (-item.cost, item.event_time, str(item.event_id))))


def _case(
    scene: Scene, row: int, record: Mapping[str, Any], cause: str | None, member: int, campaigns: Campaigns,
    cluster: int | None, reasons: tuple[Reason, ...], has_amount: bool,  # noqa: FBT001
) -> ErrorCase:  # fmt: skip
    item = campaigns.items[member] if member >= 0 else None
    by = DecidedBy.from_dict(scene.decided_by[row])
    return ErrorCase(
        event_id=record["event_id"],
        event_time=record["event_time"],
        kind=MISSED if scene.missed[row] else FALSE_ALARM,
        action=record["action"],
        y_prob=float(record["y_prob"]),
        amount=record["amount"] if has_amount else None,
        entities={name: record[name] for name in scene.entities},
        cost=float(record["cost"]),
        cause=cause,
        campaign=None if item is None else CampaignLink(item.entity, item.value, item.size),
        cluster=cluster,
        reasons=reasons if by.by_model else (),
        decided_by=by,
    )


def _method(scene: Scene, rows: IntArray, close: IntArray, seed: int, permutations: int, basis: Basis | None) -> Method:
    return Method(
        n_events=scene.scored.height,
        n_searched=len(rows),
        n_explained=len(close),
        sampled=len(rows) < scene.scored.height,
        weighted=bool((scene.weight != 1.0).any()),
        seed=seed,
        permutations=permutations,
        n_features=len(scene.features),
        basis=basis,
    )
