"""The text of definitions that digests are taken of: frozen, so that bundles, caches and states of before still load.

The text depends on no module, class or default of today: names and fields are written down here. A field that is added
later is written only where it is not at its default, so that definitions that do not use it keep their digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from fraudctl.project.data import DataSection
from fraudctl.project.labels import LabelTablesSection
from fraudctl.project.sources import SourceSection
from fraudctl.project.types import Duration

_DATA = (
    "events", "event_id", "event_time", "amount", "label", "label_values", "label_time", "label_delay", "timezone",
    "ignore", "weight", "exposure_prob", "control_group",
)  # fmt: skip
_LABELS = ("events", "event_id", "time", "label")
_SOURCE = ("events", "event_time", "known_time", "entities")


def written(title: str, always: Iterable[str], value: Any) -> str:
    """Return ``title(field=value, ...)``: the fields of ``always``, then by name others that are not at their default.

    Parameters
    ----------
    title
        The name in the text, whatever the class is called.
    always
        Fields that the text has always had, in its order.
    value
        A dataclass or a section of the project file.
    """
    defaults = _defaults(value)
    later = sorted(name for name, default in defaults.items() if name not in always and getattr(value, name) != default)
    parts = [f"{name}={_text(getattr(value, name))}" for name in (*always, *later)]
    return f"{title}({', '.join(parts)})"


def data_text(section: DataSection) -> str:
    """Return the text of ``[data]``, without the place of the events, and of decisions."""
    return written("DataSection", _DATA, section.model_copy(update={"events": "", "decisions": None}))


def source_text(section: SourceSection) -> str:
    """Return the text of another table's section, without the place of its rows."""
    return written("SourceSection", _SOURCE, section.model_copy(update={"events": ""}))


def labels_text(section: LabelTablesSection) -> str:
    """Return the text of ``[labels]``, without the places of the tables."""
    tables = [
        f"{name} {written('LabelTableSection', _LABELS, table.model_copy(update={'events': ''}))}"
        for name, table in sorted(section.tables.items())
    ]
    rule = written("LabelTablesSection", ("legit_after", "declined"), section.model_copy(update={"tables": {}}))
    return "\n".join([rule, *tables])


def _defaults(value: Any) -> dict[str, object]:
    if isinstance(value, BaseModel):
        found = type(value).model_fields
        return {name: item.get_default(call_default_factory=True) for name, item in found.items()}
    if is_dataclass(value):
        return {item.name: item.default for item in fields(value)}
    return {}


def _text(value: Any) -> str:
    """Return a value as text; a section within a section is written by its fields alone."""
    if isinstance(value, Duration):
        return f"Duration(seconds={value.seconds!r}, text={value.text!r})"
    return written("", (), value) if isinstance(value, BaseModel) else repr(value)
