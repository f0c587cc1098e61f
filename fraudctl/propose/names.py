"""What the name of a column says about its meaning.

Owns the vocabulary: words that mark times, amounts, outcomes and the parties to a transaction. Names only ever
nominate; whether a column can have the role is decided by its type and its values.
"""

from __future__ import annotations

import re
import unicodedata

_SUBJECT = frozenset(
    {"event", "transaction", "trans", "trx", "txn", "tx", "payment", "order", "auth", "purchase", "transfer", "sale"}
)
_TIME = frozenset(
    {"time", "timestamp", "ts", "datetime", "date", "at", "instant", "when", "created", "occurred", "happened", "datum",
     "zeit", "zeitpunkt", "fecha"}
)  # fmt: skip
_OTHER_TIME = frozenset(
    {
        "updated", "modified", "loaded", "ingested", "inserted", "exported", "settled", "settlement", "posted",
        "booked", "cleared", "birth", "dob", "born", "expiry", "expires", "expiration", "opened", "open", "since",
        "start", "end",
        "valid", "registered", "signup", "joined", "last", "first", "previous", "prev", "next",
    }
)  # fmt: skip
_AFTER = frozenset(
    {
        "chargeback", "chargebacks", "dispute", "disputed", "label", "labels", "labelled", "labeled", "outcome",
        "fraud", "isfraud", "fraudulent", "scenario", "investigation", "investigated", "investigator", "verdict",
        "confirmed",
        "resolution", "resolved", "reported", "claim", "writeoff", "recovered",
        "betrug", "fraude", "frode", "rueckbuchung", "ruckbuchung", "reklamation", "contracargo", "contestation",
    }
)  # fmt: skip
_DECISION = frozenset(
    {"status", "decision", "decline", "declined", "approved", "approval", "response", "refunded", "reviewed", "blocked",
     "entscheidung", "abgelehnt", "genehmigt", "refuse", "approuve", "rechazado", "aprobado"}
)  # fmt: skip
_LABEL = frozenset(
    {
        "fraud",
        "isfraud",
        "fraudulent",
        "label",
        "labels",
        "class",
        "target",
        "chargeback",
        "outcome",
        "betrug",
        "fraude",
        "frode",
    }
)
_LABEL_FILL = frozenset({"is", "flag", "ind", "indicator", "y", "has", "was", "confirmed", "known"}) | _SUBJECT
_AMOUNT = frozenset({"amount", "amt", "amnt"})
_WEAK_AMOUNT = frozenset(
    {"value", "price", "total", "sum", "betrag", "umsatz", "summe", "preis", "montant", "prix", "importe", "importo",
     "valor", "precio", "prezzo", "bedrag", "prijs"}
)  # fmt: skip
_CURRENCY = frozenset(
    {"eur", "euro", "euros", "usd", "dollar", "dollars", "gbp", "pounds", "chf", "jpy", "yen", "aud", "cad", "nzd",
     "sek", "nok", "dkk", "pln", "czk", "huf", "ron", "inr", "cny", "krw", "sgd", "hkd", "brl", "mxn", "zar", "try",
     "aed", "ngn"}
)  # fmt: skip
"""What an amount is in; says nothing of what the column is."""
_CELLS = (
    ("fn", ("false", "negative"), "allow.fraud"), ("fp", ("false", "positive"), "block.legit"),
    ("tp", ("true", "positive"), "block.fraud"), ("tn", ("true", "negative"), "allow.legit"),
)  # fmt: skip
_ID = frozenset(
    {"id", "ids", "uuid", "guid", "key", "number", "no", "nr", "num", "hash", "token", "ref", "code", "nummer",
     "numero", "kennung"}
)  # fmt: skip
_SURE_ID = frozenset({"id", "uuid", "guid", "ref", "reference", "key"})
_PARTIES = (
    "card", "customer", "client", "account", "user", "cardholder", "payer", "sender", "source", "device", "terminal",
    "merchant", "seller", "payee", "beneficiary", "recipient", "receiver", "target", "ip", "email", "phone", "iban",
    "pan", "member", "policy", "policyholder", "buyer", "vendor", "provider", "patient", "driver", "subscriber", "shop",
    "store", "wallet", "fingerprint", "address", "employee", "agent",
)  # fmt: skip

_SHORT = {
    "cc": "card", "acct": "account", "cust": "customer", "merch": "merchant",
    "karte": "card", "kreditkarte": "card", "kunde": "customer", "kunden": "customer", "konto": "account",
    "haendler": "merchant", "handler": "merchant", "geraet": "device", "geraete": "device",
    "gerat": "device", "gerate": "device", "nutzer": "user",
    "carte": "card", "compte": "account", "commercant": "merchant", "marchand": "merchant", "appareil": "device",
    "tarjeta": "card", "cliente": "customer", "cuenta": "account", "comercio": "merchant", "comerciante": "merchant",
    "dispositivo": "device", "usuario": "user", "cartao": "card", "conta": "account", "carta": "card",
    "conto": "account", "esercente": "merchant", "utente": "user", "kaart": "card", "klant": "customer",
    "rekening": "account", "apparaat": "device", "gebruiker": "user",
}  # fmt: skip
"""Parties as they are often shortened, and in German, French, Spanish, Portuguese, Italian and Dutch."""
_COMPOUND = re.compile(rf"({'|'.join(sorted({*_SUBJECT, *_PARTIES, *_SHORT}))})({'|'.join(sorted(_ID))})")
"""A subject or a party and its id, written together: customerid, Kundennummer."""

RECEIVING = frozenset(
    {"merchant", "terminal", "seller", "payee", "beneficiary", "recipient", "receiver", "target", "shop", "store"}
)
"""Parties that receive: shared by many payers, so that their outcomes say something about the next event."""


def tokens(name: str) -> list[str]:
    """Split a column name into lower-case words, of any alphabet and without their accents.

    >>> tokens("TX_DATETIME"), tokens("merchantId"), tokens("Amount (EUR)"), tokens("Händler"), tokens("customerid")
    (['tx', 'datetime'], ['merchant', 'id'], ['amount', 'eur'], ['handler'], ['customer', 'id'])
    """
    plain = "".join(
        sign for sign in unicodedata.normalize("NFKD", name.replace("°", "o")) if not unicodedata.combining(sign)
    )
    spaced = "".join(
        f" {sign}" if sign.isupper() and (before.islower() or before.isdecimal()) else sign
        for before, sign in zip(f" {plain}", plain, strict=False)
    )
    words = (word.lower() for word in re.split(r"[\W_]+", spaced) if word)
    return [part for word in words for part in _parts(word)]


def _parts(word: str) -> tuple[str, ...]:
    found = _COMPOUND.fullmatch(word)
    return (word,) if found is None else (found[1], found[2])


def tells_outcome(name: str) -> bool:
    """Say whether a name belongs to something that is known only after the outcome, or with it."""
    return bool(_AFTER.intersection(tokens(name)))


def tells_decision(name: str) -> bool:
    """Say whether a name belongs to what was decided about the event, which no score could have known."""
    return bool(_DECISION.intersection(tokens(name)))


_FILL = _LABEL_FILL | {"code", "date", "at", "time", "status", "result", "final"}


def only_tells_outcome(name: str) -> bool:
    """Say whether a name is nothing but that of an outcome or a decision.

    >>> only_tells_outcome("is_declined"), only_tells_outcome("days_since_last_chargeback")
    (True, False)
    """
    words = set(tokens(name))
    return bool(words & (_AFTER | _DECISION)) and words <= _AFTER | _DECISION | _FILL


def event_time_rank(name: str) -> int:
    """Rank a name as that of the event's time: 2 says so, 1 may be, 0 says another time."""
    words = set(tokens(name))
    if tells_outcome(name) or words & _OTHER_TIME:
        return 0
    rest = words - _TIME
    return 2 if rest <= _SUBJECT | {"created", "occurred", "utc", "local"} else 1


_NO_CLOCK = frozenset(
    {"birth", "dob", "born", "expiry", "expires", "expiration", "valid", "registered", "signup", "joined", "since",
     "first", "previous", "prev", "next", "opened", "end"}
)  # fmt: skip


def may_be_event_time(name: str) -> bool:
    """Say whether the only time of a table can be that of the event under this name.

    >>> may_be_event_time("booked"), may_be_event_time("date_of_birth"), may_be_event_time("reported_at")
    (True, False, False)
    """
    return not tells_outcome(name) and not _NO_CLOCK.intersection(tokens(name))


_COUNTS = frozenset({"step", "dt", "elapsed", "offset", "tick", "ticks", "epoch", "unix", "unixtime"})
_CALENDAR = {
    frozenset({"year"}): "year", frozenset({"month"}): "month", frozenset({"day"}): "day",
    frozenset({"week"}): "week", frozenset({"iso", "week"}): "week", frozenset({"week", "of", "year"}): "week",
    frozenset({"week", "of", "month"}): "week", frozenset({"weekofmonth"}): "week",
    frozenset({"day", "of", "week"}): "weekday", frozenset({"weekday"}): "weekday",
    frozenset({"dayofweek"}): "weekday", frozenset({"time"}): "time", frozenset({"hour"}): "hour",
    frozenset({"minute"}): "minute", frozenset({"second"}): "second", frozenset({"day", "of", "month"}): "day",
}  # fmt: skip


_UNITS = {"month": "month", "months": "month", "week": "w", "weeks": "w", "day": "d", "days": "d", "hour": "h",
          "hours": "h", "minute": "min", "minutes": "min", "second": "s", "seconds": "s"}  # fmt: skip
_NUMBERED = frozenset({"no", "nr", "num", "number", "index", "idx", "id", "seq", "counter", "step", "period"})


def counted_unit(name: str) -> str | None:
    """Give the unit of time that a name numbers, and nothing else: month_no, week_index, step_hours.

    >>> counted_unit("month_no"), counted_unit("WeekIndex"), counted_unit("months_as_customer"), counted_unit("month")
    ('month', 'w', None, None)
    """
    words = tokens(name)
    units = [_UNITS[word] for word in words if word in _UNITS]
    rest = {word for word in words if word not in _UNITS}
    return units[0] if len(units) == 1 and rest and rest <= _NUMBERED | _COUNTS else None


def counts_time(name: str) -> bool:
    """Say whether a name speaks of time that is counted from somewhere: step, dt, elapsed, epoch."""
    return bool(_COUNTS.intersection(tokens(name)))


def event_time_named(name: str) -> bool:
    """Say whether a name speaks of the time of the event itself."""
    return looks_like_time(name) and event_time_rank(name) > 0


def calendar_part(name: str) -> str | None:
    """Give the part of a date that a column is named as, and as nothing else: year, month, day, week, weekday, time.

    >>> calendar_part("WeekOfMonth"), calendar_part("Month"), calendar_part("MonthClaimed")
    ('week', 'month', None)
    """
    return _CALENDAR.get(frozenset(tokens(name)) - _SUBJECT)


def looks_like_time(name: str) -> bool:
    """Say whether a name speaks of a time, whatever the column holds."""
    return bool(_TIME.intersection(tokens(name))) or name.lower().endswith(("time", "date"))


def label_rank(name: str) -> int:
    """Rank a name as that of the outcome: 2 is nothing else, 1 mentions it, 0 does not."""
    words = set(tokens(name))
    if not words & _LABEL:
        return 0
    return 2 if words <= _LABEL | _LABEL_FILL else 1


def amount_rank(name: str) -> int:
    """Rank a name as that of the amount: 2 is nothing else, 1 mentions it, 0 does not."""
    words = set(tokens(name))
    if words & _AMOUNT:
        return 2 if words <= _AMOUNT | _SUBJECT else 1
    return 1 if words <= _WEAK_AMOUNT | _SUBJECT | _CURRENCY and words & _WEAK_AMOUNT else 0


def cost_cell(name: str) -> str | None:
    """Give the cell of the cost matrix that a name speaks of, in the words of ``[costs.actions]``.

    >>> cost_cell("fn_cost"), cost_cell("CostFalsePositive"), cost_cell("shipping_cost")
    ('allow.fraud', 'block.legit', None)
    """
    words = set(tokens(name))
    if not words & {"cost", "costs", "loss"}:
        return None
    for short, (first, second), cell in _CELLS:
        if short in words or {first, second} <= words:
            return cell
    return None


def event_id_rank(name: str) -> int:
    """Rank a name as that of the event's id: 3 names the event's own id, 2 just ``id``, 1 some id, 0 no id."""
    words = set(tokens(name))
    if not words & _ID:
        return 0
    rest = words - _ID
    if rest and rest <= _SUBJECT:
        return 3
    if not rest:
        return 2 if words & _SURE_ID else 0
    return 1


def party(name: str) -> str | None:
    """Give the party to the transaction that a name speaks of, as an entity name; None where it speaks of none.

    >>> party("CUSTOMER_ID"), party("card_hash"), party("session_id"), party("merchant_category"), party("Kundennummer")
    ('customer', 'card', 'session', None, 'customer')
    """
    words = tokens(name)
    kept = [_SHORT.get(word, word) for word in words if word not in _ID | _SUBJECT]
    if not kept or not all(word.isascii() for word in kept):
        return None
    if any(word in _SURE_ID | {"hash", "token"} for word in words):
        return _identifier("_".join(kept))
    if kept[-1] in _PARTIES and len(kept) <= 2:
        return _identifier("_".join(kept))
    return None


_PAYER_PARTS = frozenset({"card", "account", "customer", "user", "client", "payer", "sender"})
_PLACE_PARTS = frozenset({"addr", "address", "zip", "zipcode", "postcode", "postal", "city"})


def id_part(name: str) -> str | None:
    """Give what a name is a part of: the ``payer``, or the ``place`` where it lives, with or without a number.

    >>> id_part("card1"), id_part("P_addr2"), id_part("card_zip"), id_part("amount")
    ('payer', 'place', 'place', None)
    """
    words = {re.sub(r"[0-9]+$", "", word) for word in tokens(name)}
    words = {_SHORT.get(word, word) for word in words}
    if words & _PLACE_PARTS:
        return "place"
    return "payer" if words & _PAYER_PARTS and len(words) <= 2 else None


def is_known_party(entity: str) -> bool:
    """Say whether an entity name is one of the usual parties, and not just anything with an id."""
    return entity.rsplit("_", maxsplit=1)[-1] in _PARTIES


def receives(entity: str) -> bool:
    """Say whether an entity is on the receiving side."""
    return bool(RECEIVING.intersection(entity.split("_")))


def _identifier(text: str) -> str:
    return text if text[0].isalpha() else f"e_{text}"
