"""The labels of the sample as payment teams have them: chargebacks and disputes in tables of their own.

Owns what cardholders claim and what becomes of it. Every fraud that the data know of is a chargeback, a few of them
twice. Some honest payments are charged back too, and nearly all of those are taken back when the dispute is decided; of
the frauds that are disputed, few are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

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


def label_tables(transactions: pl.DataFrame, draws: Draws) -> LabelTables:
    """Return the sample with its labels in tables of their own.

    Parameters
    ----------
    transactions
        As `generate` makes them.
    """
    once = transactions.unique("transaction_id", keep="first", maintain_order=True)
    until, n = once["created_at"].max(), once.height
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
        chargebacks.filter(pl.col("reported_at") <= until).sort("reported_at", "transaction_id"),
        disputes.filter(pl.col("decided_at") <= until).sort("decided_at", "transaction_id"),
    )


def _spans(days: Floats) -> pl.Series:
    return pl.Series(np.round(days * _DAY).astype(np.int64) * 1_000_000).cast(pl.Duration("us"))
