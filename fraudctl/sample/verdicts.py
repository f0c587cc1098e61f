"""The labels of the sample as payment teams have them: five tables of entries, some of which are taken back.

Owns who says what about a payment, and when: analysts within hours, customers and card issuers within days, chargebacks
within a week, and disputes a month later. Sources disagree, repeat themselves, and are wrong now and then.

Chargebacks and disputes follow the labels that the data know: every such fraud is a chargeback, a few of them twice.
The other tables follow the truth, so that they hold frauds for which no chargeback ever comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from fraudctl.sample.after import LaterData
from fraudctl.sample.draws import Bools, Draws, Floats

LABEL_TABLES: Final[Mapping[str, str]] = {
    "chargebacks": "reported_at",
    "disputes": "decided_at",
    "verdicts": "closed_at",
    "customer_reports": "received_at",
    "tc40": "received_at",
}
"""Table -> the column with the instant at which an entry was known."""

_HONEST_CLAIMS = 0.004
_TWICE = 0.03
_DISPUTED = 0.12
_WON_HONEST, _WON_FRAUD = 0.85, 0.10

_LOOKED_AT = {"fraud": 0.30, "honest": 0.015, "declined": 0.10}
_VERDICTS = ("confirmed", "cleared", "open")
_VERDICT_OF_FRAUD, _VERDICT_OF_HONEST = (0.84, 0.10, 0.06), (0.05, 0.90, 0.05)
_SECOND_LOOK = 0.5
_CUSTOMER_REPORTS = {"fraud": 0.45, "honest": 0.0015}
_WITHDRAWN_FRAUD, _WITHDRAWN_HONEST = 0.02, 0.70
_ISSUER_REPORTS = {"fraud": 0.65, "honest": 0.001}
_SENT_TWICE = 0.05
_ORPHANS = {"customer_reports": 0.02, "tc40": 0.05}
_KINDS = ("lost_or_stolen", "card_not_present", "account_takeover")

_DAY = 86_400.0
_LABELS = ("is_fraud", "label_available_at")

Streams = Callable[[str], Draws]
"""From a name to a stream of random numbers."""


@dataclass(frozen=True)
class LabelTables:
    """The transactions without labels, and tables of entries about them by name, each with ``transaction_id``.

    Attributes
    ----------
    tables
        Those of `LABEL_TABLES` in their order, or some of them. Entries that would come after the extract are not there
        yet.

        - ``chargebacks``: ``reported_at``.
        - ``disputes``: ``decided_at`` and ``outcome``, "won" by the merchant, so that the chargeback is taken back, or
          "lost".
        - ``verdicts`` of analysts: ``closed_at`` and ``verdict``, "confirmed", "cleared" or "open". A second look may
          say something else.
        - ``customer_reports``: ``received_at`` and ``status``, "fraud" or "withdrawn". Some name no payment.
        - ``tc40``, fraud that card issuers report to their scheme: ``received_at`` and ``type``. Some are sent twice,
          some are about payments of other merchants.
    """

    transactions: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]

    def __getitem__(self, name: str) -> pl.DataFrame:
        return self.tables[name]


def label_tables(
    transactions: pl.DataFrame,
    truth: pl.DataFrame,
    streams: Streams,
    *,
    names: Sequence[str] = tuple(LABEL_TABLES),
    until: datetime | None = None,
    suffix: str = "",
) -> LabelTables:
    """Return the sample with its labels in tables of their own.

    Parameters
    ----------
    transactions, truth
        As `generate` makes them; the truth may know further events.
    streams
        Each table has its own stream, but chargebacks and disputes share one.
    names
        Of `LABEL_TABLES`. A table is the same whatever others there are.
    until
        The instant of the extract; by default that of the last payment.
    suffix
        What is added to the names of the streams.
    """
    once = transactions.unique("transaction_id", keep="first", maintain_order=True)
    last = once["created_at"].max() if until is None else until
    payments = _Payments(once, truth)
    tables: dict[str, pl.DataFrame] = {}
    if {"chargebacks", "disputes"} & set(names):
        tables |= _chargebacks_and_disputes(once, streams(f"chargebacks and disputes{suffix}"))
    for name, make in (("verdicts", _verdicts), ("customer_reports", _customer_reports), ("tc40", _tc40)):
        if name in names:
            tables[name] = make(payments, streams(f"{name}{suffix}"))
    return LabelTables(
        transactions.drop(_LABELS),
        {
            name: tables[name].filter(pl.col(time) <= last).sort(time, "transaction_id")
            for name, time in LABEL_TABLES.items()
            if name in names
        },
    )


def later_label_tables(
    sample: pl.DataFrame,
    truth: pl.DataFrame,
    later: LaterData,
    streams: Streams,
    *,
    names: Sequence[str] = tuple(LABEL_TABLES),
) -> tuple[LabelTables, LabelTables]:
    """Return the tables of the sample as `label_tables` makes them, and further rows of them.

    What becomes known of the sample's payments after its end is among the further rows.

    Parameters
    ----------
    sample, truth
        As `generate` makes them.
    streams
        As in `label_tables`.
    names
        Of `LABEL_TABLES`.
    """
    last = sample["created_at"].max()
    known = label_tables(sample, truth, streams, names=names, until=later.end)
    unknown = sample.filter(pl.col("is_fraud").is_null()).select("transaction_id").unique()
    late = later.sample.filter(pl.col("is_fraud").is_not_null()).join(unknown, on="transaction_id", how="semi")
    claims = label_tables(
        pl.concat([late, later.transactions]), later.truth, streams, names=("chargebacks", "disputes"),
        until=later.end, suffix=", after",
    )  # fmt: skip
    charged = claims["chargebacks"].filter(pl.col("reported_at") > last)
    claimed = {"chargebacks": charged, "disputes": claims["disputes"].join(charged, on="transaction_id", how="semi")}
    others = [name for name in names if name not in claimed]
    own = label_tables(later.transactions, later.truth, streams, names=others, until=later.end, suffix=", after")
    more = {**own.tables, **claimed}
    sooner, further = {}, {}
    for name, table in known.tables.items():
        seen = pl.col(LABEL_TABLES[name]) <= last
        sooner[name] = table.filter(seen)
        rows = pl.concat([table.filter(~seen), more[name]])
        further[name] = rows.sort(LABEL_TABLES[name], "transaction_id")
    return LabelTables(known.transactions, sooner), LabelTables(later.transactions.drop(_LABELS), further)


class _Payments:
    """Payments with what is true of each, shape ``(n,)``.

    Attributes
    ----------
    fraud
        Whether it is fraud, labelled or not.
    taken
        Whether it was approved: nobody outside reports a payment that was declined.
    kind
        How the fraud was done, a position in ``_KINDS``.
    """

    def __init__(self, once: pl.DataFrame, truth: pl.DataFrame) -> None:
        self.frame = once.select("transaction_id", "created_at")
        patterns = once.join(truth, on="transaction_id", how="left", maintain_order="left")["pattern"]
        self.fraud: Bools = patterns.is_not_null().to_numpy()
        self.taken: Bools = (once["status"] == "approved").to_numpy()
        takeover = (patterns == "account_takeover").fill_null(value=False).to_numpy()
        self.kind = np.where(takeover, 2, (once["channel"] != "pos").to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return self.frame.height

    def shares(self, shares: Mapping[str, float]) -> Floats:
        """Return the share of frauds or of honest payments for each payment; of declined ones, if it names them."""
        out = np.where(self.fraud, shares["fraud"], shares["honest"])
        return np.where(self.taken, out, shares.get("declined", 0.0))


def _chargebacks_and_disputes(once: pl.DataFrame, draws: Draws) -> dict[str, pl.DataFrame]:
    """Charge back every known fraud and a few honest payments; of the latter, disputes take most back."""
    n = once.height
    honest_payment = (once["is_fraud"] == 0) & (once["status"] == "approved")
    claims = draws.chance(_HONEST_CLAIMS, n) & honest_payment.fill_null(value=False).to_numpy()
    waited = once["created_at"] + _spans(draws.lognormal(6.0, 0.5, n))
    frauds = once.filter(pl.col("is_fraud") == 1).select("transaction_id", reported_at="label_available_at")
    frauds = frauds.with_columns(fraud=pl.lit(value=True))
    honest = pl.DataFrame([once["transaction_id"], waited.alias("reported_at")]).filter(pl.Series(claims))
    claimed = pl.concat([frauds, honest.with_columns(fraud=pl.lit(value=False))]).sort("reported_at", "transaction_id")
    n = claimed.height
    again = claimed.with_columns((claimed["reported_at"] + _spans(draws.between(1, 9, n))).alias("reported_at"))
    chargebacks = pl.concat([claimed, again.filter(pl.Series(draws.chance(_TWICE, n)))]).drop("fraud")
    fraud = claimed["fraud"].to_numpy()
    disputed = draws.chance(_DISPUTED, n) | ~fraud
    won = draws.chance(np.where(fraud, _WON_FRAUD, _WON_HONEST), n)
    disputes = claimed.select(
        "transaction_id",
        (claimed["reported_at"] + _spans(draws.lognormal(18.0, 0.4, n))).alias("decided_at"),
        pl.Series("outcome", np.where(won, "won", "lost")),
    ).filter(pl.Series(disputed))
    return {"chargebacks": chargebacks, "disputes": disputes}


def _verdicts(payments: _Payments, draws: Draws) -> pl.DataFrame:
    """Look at some payments within hours; half of the verdicts that were wrong or open are given again within days."""
    n = len(payments)
    seen = draws.chance(payments.shares(_LOOKED_AT), n)
    at = _later(payments, draws.lognormal(0.35, 1.0, n))
    bounds = np.where(payments.fraud[:, None], np.cumsum(_VERDICT_OF_FRAUD), np.cumsum(_VERDICT_OF_HONEST))
    said = (draws.uniform(n)[:, None] >= bounds[:, :-1]).sum(axis=1)
    right = np.where(payments.fraud, 0, 1)
    again = seen & (said != right) & draws.chance(_SECOND_LOOK, n)
    first = _rows(payments, at, "closed_at", seen, verdict=(_VERDICTS, said))
    at_last = at + _spans(draws.lognormal(6.0, 0.6, n))
    return pl.concat([first, _rows(payments, at_last, "closed_at", again, verdict=(_VERDICTS, right))])


def _customer_reports(payments: _Payments, draws: Draws) -> pl.DataFrame:
    """Call within days; who finds that the payment was their own takes it back."""
    n = len(payments)
    called = draws.chance(payments.shares(_CUSTOMER_REPORTS), n)
    at = _later(payments, draws.lognormal(2.0, 0.9, n))
    regretted = called & draws.chance(np.where(payments.fraud, _WITHDRAWN_FRAUD, _WITHDRAWN_HONEST), n)
    back = at + _spans(draws.lognormal(5.0, 0.7, n))
    words = ("fraud", "withdrawn")
    first = _rows(payments, at, "received_at", called, status=(words, np.zeros(n, dtype=np.int64)))
    taken_back = _rows(payments, back, "received_at", regretted, status=(words, np.ones(n, dtype=np.int64)))
    return pl.concat([_with_orphans(first, draws, _ORPHANS["customer_reports"]), taken_back])


def _tc40(payments: _Payments, draws: Draws) -> pl.DataFrame:
    """Report to the scheme within weeks; some twice, and some about payments that were made elsewhere."""
    n = len(payments)
    reported = draws.chance(payments.shares(_ISSUER_REPORTS), n)
    at = _later(payments, draws.lognormal(9.0, 0.7, n))
    found = _rows(payments, at, "received_at", reported, type=(_KINDS, payments.kind))
    twice = found.filter(pl.Series(draws.chance(_SENT_TWICE, found.height)))
    twice = twice.with_columns(twice["received_at"] + _spans(draws.between(0.5, 4, twice.height)))
    return pl.concat([_with_orphans(found, draws, _ORPHANS["tc40"]), twice])


def _rows(
    payments: _Payments, at: pl.Series, time: str, where: Bools, **said: tuple[Sequence[str], np.ndarray]
) -> pl.DataFrame:
    """Return the entries about some payments: id, instant, and one column of words by their position."""
    words: Iterator[pl.Series] = (
        pl.Series(list(names)).gather(number).alias(name) for name, (names, number) in said.items()
    )
    return pl.DataFrame([payments.frame["transaction_id"], at.alias(time), *words]).filter(pl.Series(where))


def _with_orphans(rows: pl.DataFrame, draws: Draws, share: float) -> pl.DataFrame:
    """Return the entries, and copies of a share of them about payments that are not among the data."""
    copied = rows.filter(pl.Series(draws.chance(share, rows.height)))
    return pl.concat([rows, copied.with_columns(transaction_id="X" + pl.col("transaction_id").str.slice(1))])


def _later(payments: _Payments, days: Floats) -> pl.Series:
    return payments.frame["created_at"] + _spans(days)


def _spans(days: Floats) -> pl.Series:
    return pl.Series(np.round(days * _DAY).astype(np.int64) * 1_000_000).cast(pl.Duration("us"))
