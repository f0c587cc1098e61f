"""The labels of the sample as payment teams have them: chargebacks and disputes in tables of their own.

Owns what cardholders claim and what becomes of it. Every fraud that the data know of is a chargeback, a few of them
twice. Some honest payments are charged back too, and nearly all of those are taken back when the dispute is decided; of
the frauds that are disputed, few are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from fraudctl.sample.after import LaterData
from fraudctl.sample.draws import Draws, Floats

_HONEST_CLAIMS = 0.004
_TWICE = 0.03
_DISPUTED = 0.12
_WON_HONEST, _WON_FRAUD = 0.85, 0.10
_DAY = 86_400.0
_LABELS = ("is_fraud", "label_available_at")


@dataclass(frozen=True)
class LabelTables:
    """The transactions without labels, chargebacks (transaction_id, reported_at) and disputes.

    Disputes have transaction_id, decided_at and outcome: "won" by the merchant, so that the chargeback is taken back,
    or "lost". Entries that would come after the last payment are not there yet.
    """

    transactions: pl.DataFrame
    chargebacks: pl.DataFrame
    disputes: pl.DataFrame


def label_tables(transactions: pl.DataFrame, draws: Draws, *, until: datetime | None = None) -> LabelTables:
    """Return the sample with its labels in tables of their own.

    Parameters
    ----------
    transactions
        As `generate` makes them.
    until
        The instant of the extract; by default that of the last payment.
    """
    once = transactions.unique("transaction_id", keep="first", maintain_order=True)
    last = once["created_at"].max() if until is None else until
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
    return LabelTables(
        transactions.drop(_LABELS),
        chargebacks.filter(pl.col("reported_at") <= last).sort("reported_at", "transaction_id"),
        disputes.filter(pl.col("decided_at") <= last).sort("decided_at", "transaction_id"),
    )


def later_label_tables(
    sample: pl.DataFrame, later: LaterData, streams: Callable[[str], Draws]
) -> tuple[LabelTables, LabelTables]:
    """Return the tables of the sample as `label_tables` makes them, and further rows of them.

    What becomes known of the sample's payments after its end is among the further rows.

    Parameters
    ----------
    sample
        As `generate` makes it.
    streams
        From a name to a stream; "chargebacks and disputes" is that of the sample.
    """
    last = sample["created_at"].max()
    known = label_tables(sample, streams("chargebacks and disputes"), until=later.end)
    unknown = sample.filter(pl.col("is_fraud").is_null()).select("transaction_id").unique()
    late = later.sample.filter(pl.col("is_fraud").is_not_null()).join(unknown, on="transaction_id", how="semi")
    further = label_tables(
        pl.concat([late, later.transactions]), streams("chargebacks and disputes, after"), until=later.end
    )
    charged = further.chargebacks.filter(pl.col("reported_at") > last)
    decided = further.disputes.join(charged, on="transaction_id", how="semi")
    is_known = {"chargebacks": pl.col("reported_at") <= last, "disputes": pl.col("decided_at") <= last}
    sooner = {name: getattr(known, name).filter(seen) for name, seen in is_known.items()}
    later_on = {name: getattr(known, name).filter(~seen) for name, seen in is_known.items()}
    return (
        LabelTables(known.transactions, **sooner),
        LabelTables(
            later.transactions.drop(_LABELS),
            pl.concat([later_on["chargebacks"], charged]).sort("reported_at", "transaction_id"),
            pl.concat([later_on["disputes"], decided]).sort("decided_at", "transaction_id"),
        ),
    )


def _spans(days: Floats) -> pl.Series:
    return pl.Series(np.round(days * _DAY).astype(np.int64) * 1_000_000).cast(pl.Duration("us"))
