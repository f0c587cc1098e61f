"""A small recurrent network as a challenger: ``entry = "fraudctl.challengers.gru"`` (extra ``neural``).

For each event, a GRU reads the features of the last earlier events of its entity, the oldest first, and how long ago
each was; a second layer joins that with the event's own features. It reads nothing of the event's own instant or later,
nothing older than ``history``, and no label but the one that it is fitted on. ``params``: ``entity`` (the first),
``length`` (50 events), ``width`` (32), ``epochs`` (8 at most: how many is chosen on the latest fifth of the rows, and
then all are learned), ``step`` (0.003). One thread, so that it repeats itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudctl.arrays import FloatArray, IntArray, SingleArray
from fraudctl.challengers.contract import EVENT_ID, EVENT_TIME, LABEL, WEIGHT, ChallengerFacts

_FILE = "network.json"
_BATCH = 512
_LATE = 0.2
"""Share of the training rows, the latest, on which the number of epochs is chosen."""
_PATIENCE = 2


def fit(train: pl.DataFrame, context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> None:
    """Fit on rows with labels and weights, and write scaling and weights as JSON."""
    torch = _torch(facts)
    numbers = _logarithmic(train, facts)
    with np.errstate(all="ignore"):
        mean, spread = (np.nan_to_num(of(numbers, axis=0)) for of in (np.nanmean, np.nanstd))
    scaling = {"mean": mean.tolist(), "spread": np.where(spread > 0, spread, 1.0).tolist()}
    both = pl.concat([train.drop(LABEL, WEIGHT), context])
    target = torch.from_numpy(train[LABEL].to_numpy().astype(np.float32))
    weight = torch.from_numpy((train[WEIGHT] / train[WEIGHT].mean()).to_numpy().astype(np.float32))
    lesson = _Lesson(facts, _inputs(both, facts, scaling), earlier_events(both, facts), target, weight)
    by_time = np.argsort(train[EVENT_TIME].to_numpy(), kind="stable")
    early, late = np.split(by_time, [int((1.0 - _LATE) * train.height)])
    _, epochs = lesson.learn(np.sort(early), int(facts.params.get("epochs", 8)), judged=late)
    network, _ = lesson.learn(np.arange(train.height), epochs)
    weights = {name: values.tolist() for name, values in network.state_dict().items()}
    document = {"scaling": scaling, "weights": weights, "epochs": epochs}
    (model / _FILE).write_text(json.dumps(document), encoding="utf-8")


@dataclass(frozen=True)
class _Lesson:
    """What a network learns from: inputs of all events, their earlier events, and of training rows label and weight."""

    facts: ChallengerFacts
    inputs: SingleArray
    earlier: tuple[IntArray, FloatArray]
    target: Any
    weight: Any

    def learn(self, rows: IntArray, most: int, *, judged: IntArray | None = None) -> tuple[Any, int]:
        """Fit a new network on some rows; return it, and how many epochs to learn.

        With ``judged``, rows that it does not learn from, it ends `_PATIENCE` epochs after the one with the lowest loss
        on them, and returns the fewest epochs that are not surely worse (the rule of one standard error; Breiman,
        Friedman, Olshen and Stone, *Classification and Regression Trees*, 1984): a network that reads histories learns
        single cards by heart.
        """
        import torch

        torch.manual_seed(self.facts.seed)
        network = _network(self.facts, self.inputs.shape[1])
        step = float(self.facts.params.get("step", 0.003))
        optimiser = torch.optim.AdamW(network.parameters(), lr=step, weight_decay=0.01)
        random, judged_by_epoch = np.random.default_rng(self.facts.seed), list[FloatArray]()
        for epoch in range(1, most + 1):
            network.train()
            for part in np.array_split(random.permutation(rows), -(-len(rows) // _BATCH)):
                loss = self._loss(network, part)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            if judged is not None and len(judged):
                judged_by_epoch.append(self._judge(network, judged))
                if epoch > int(np.argmin([losses.mean() for losses in judged_by_epoch])) + _PATIENCE:
                    break
        return network, fewest_epochs(judged_by_epoch) or most

    def _loss(self, network: Any, rows: IntArray, *, reduction: str = "mean") -> Any:
        from torch.nn.functional import binary_cross_entropy_with_logits

        found = _forward(network, self.inputs, self.earlier, rows)
        return binary_cross_entropy_with_logits(found, self.target[rows], self.weight[rows], reduction=reduction)

    def _judge(self, network: Any, rows: IntArray) -> FloatArray:
        """Return the loss of each row, none of which was learned from."""
        import torch

        network.eval()
        parts = np.array_split(rows, -(-len(rows) // _BATCH))
        with torch.no_grad():
            found = torch.cat([self._loss(network, part, reduction="none") for part in parts])
        return np.asarray(found.double().numpy(), dtype=np.float64)


def fewest_epochs(losses: Sequence[FloatArray]) -> int:
    """Return after how many epochs the loss is not worse than the lowest by more than a standard error, 0 for none.

    ``losses`` are those of the same rows after each epoch, shape ``(n_rows,)`` each; differences are paired.
    """
    if not losses:
        return 0
    best = losses[int(np.argmin([item.mean() for item in losses]))]
    gaps = [item - best for item in losses]
    return next(at for at, gap in enumerate(gaps, 1) if gap.mean() <= gap.std() / np.sqrt(len(gap)))


def score(rows: pl.DataFrame, context: pl.DataFrame, facts: ChallengerFacts, model: Path) -> FloatArray:
    """Return the log-odds of rows, which are earlier events to each other as those of the context are."""
    torch = _torch(facts)
    learned = json.loads((model / _FILE).read_text(encoding="utf-8"))
    both = pl.concat([rows, context])
    inputs, earlier = _inputs(both, facts, learned["scaling"]), earlier_events(both, facts)
    network = _network(facts, inputs.shape[1])
    network.load_state_dict({name: torch.tensor(values) for name, values in learned["weights"].items()})
    network.eval()
    parts = np.array_split(np.arange(rows.height), -(-rows.height // _BATCH))
    with torch.no_grad():
        found: FloatArray = torch.cat([_forward(network, inputs, earlier, part) for part in parts]).double().numpy()
    return found


def earlier_events(events: pl.DataFrame, facts: ChallengerFacts) -> tuple[IntArray, FloatArray]:
    """Return, for each event, the rows of the last strictly earlier events of its entity, and their age in seconds.

    Shape ``(n_events, length)`` each, the oldest first, filled up with -1 at the end. Only events within ``history``
    before it count; an event without an entity has none. Events of one instant never see each other.
    """
    entity = str(facts.params.get("entity", next(iter(facts.entities), "")))
    if entity not in facts.entities:
        msg = f"params.entity: there is no entity of that name; there is: {', '.join(facts.entities) or 'none'}"
        raise SystemExit(msg)
    length = int(facts.params.get("length", 50))
    keys = events.select(pl.col(facts.entities[entity]).alias("key"), EVENT_TIME, EVENT_ID).with_row_index("row")
    keys = keys.drop_nulls("key").sort("key", EVENT_TIME, EVENT_ID)
    row, at = keys["row"].to_numpy().astype(np.int64), keys[EVENT_TIME].dt.epoch("us").to_numpy()
    code = keys["key"].rle_id().to_numpy().astype(np.int64)
    instant = keys.select(pl.struct("key", EVENT_TIME).rle_id()).to_series().to_numpy()
    stop = np.searchsorted(instant, instant, side="left")
    oldest = at - (facts.history or 0) * 1_000_000
    start = np.maximum(np.searchsorted(code, code, side="left"), stop - length)
    ages, found = np.zeros((events.height, length)), np.full((events.height, length), -1, dtype=np.int64)
    for k in range(length):
        place = start + k
        there = place < stop
        place = np.where(there, place, 0)
        there &= at[place] >= oldest
        found[row, k] = np.where(there, row[place], -1)
        ages[row, k] = np.where(there, (at - at[place]) / 1e6, 0.0)
    full = np.argsort(found < 0, axis=1, kind="stable")
    return np.take_along_axis(found, full, 1), np.take_along_axis(ages, full, 1)


def _torch(facts: ChallengerFacts) -> Any:
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(facts.seed)
    return torch


def _network(facts: ChallengerFacts, n_inputs: int) -> Any:
    from torch import nn

    width = int(facts.params.get("width", 32))
    return nn.ModuleDict(
        {
            "encode": nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU()),
            "read": nn.GRU(width + 1, width, batch_first=True),
            "join": nn.Sequential(nn.Linear(n_inputs + width, 2 * width), nn.ReLU(), nn.Dropout(0.2)),
            "say": nn.Linear(2 * width, 1),
        }
    )


def _forward(network: Any, inputs: SingleArray, earlier: tuple[IntArray, FloatArray], rows: IntArray) -> Any:
    """Return the log-odds of some rows."""
    import torch

    places, ages = earlier[0][rows], np.log1p(earlier[1][rows]).astype(np.float32)
    counts = (places >= 0).sum(axis=1)
    read = torch.zeros(len(rows), network["read"].hidden_size)
    some = np.flatnonzero(counts)
    if len(some):
        past = network["encode"](torch.from_numpy(inputs[np.maximum(places[some], 0)]))
        past = torch.cat([past, torch.from_numpy(ages[some])[:, :, None] / 10.0], dim=2)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            past, torch.from_numpy(counts[some]), batch_first=True, enforce_sorted=False
        )
        read = read.index_copy(0, torch.from_numpy(some), network["read"](packed)[1][0])
    both = torch.cat([torch.from_numpy(inputs[rows]), read], dim=1)
    return network["say"](network["join"](both))[:, 0]


def _logarithmic(rows: pl.DataFrame, facts: ChallengerFacts) -> FloatArray:
    values = np.empty((rows.height, len(facts.numbers)))
    for k, name in enumerate(facts.numbers):
        values[:, k] = rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), dtype=np.float64)


def _inputs(rows: pl.DataFrame, facts: ChallengerFacts, scaling: dict[str, list[float]]) -> SingleArray:
    """Return standardised numbers (0 where null), marks of nulls, and a column per level of each category."""
    values = (_logarithmic(rows, facts) - np.array(scaling["mean"])) / np.array(scaling["spread"])
    parts = [np.clip(np.nan_to_num(values), -5, 5), np.isnan(values)]
    for name, levels in facts.categories.items():
        parts.append(np.eye(len(levels), dtype=np.float32)[rows[name].cast(pl.Enum(levels)).to_physical().to_numpy()])
    return np.concatenate(parts, axis=1, dtype=np.float32)
