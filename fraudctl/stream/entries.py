"""Rows of tables of ``[labels]`` that come by topics of their own, as the outcomes that a state takes.

Owns the reading of one row: under the table's own column names, in its own notation. What a table does not read of its
rows in a file is not looked at here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fraudctl.data.entries import form_of_labels
from fraudctl.errors import DataError
from fraudctl.project.labels import VerdictSection
from fraudctl.scoring.events import json_text
from fraudctl.text.plain import shown

if TYPE_CHECKING:
    from fraudctl.project import Project


class EntryReader:
    """Reads rows of one table of labels.

    Parameters
    ----------
    project
        Of the model that decides.
    name
        A table of its ``[labels]``.
    """

    def __init__(self, project: Project, name: str) -> None:
        self._section, self._what = project.labels.tables[name], f"labels.{name}"
        self._form = form_of_labels(project, name)

    def outcome(self, raw: Any) -> dict[str, object] | None:
        """Return a row as an outcome (event_id, label, label_time); None where it says nothing.

        Raises
        ------
        DataError
            A column is missing, or the label has no meaning.
        """
        if not isinstance(raw, Mapping):
            msg = f"{self._what}: expected an object with the table's columns as fields"
            raise DataError(msg)
        row = dict(raw) if self._form.idle else self._form.row(raw)
        lacking = [name for name in self._section.columns if name not in row]
        if lacking:
            msg = f"{self._what}: no field {', '.join(map(shown, lacking))}"
            raise DataError(msg, hint="a message holds the columns that [labels] names")
        label, event_id = self._label(row), row[str(self._section.event_id)]
        if label is None or event_id is None:
            return None
        return {"event_id": event_id, "label": label, "label_time": row[self._section.time]}

    def _label(self, row: Mapping[str, Any]) -> int | None:
        verdict = self._section.label
        if not isinstance(verdict, VerdictSection):
            return verdict
        value = row[verdict.column]
        if verdict.values:
            text = json_text(value)
            if text is not None and text not in verdict.values:
                msg = f"{self._what}: field {shown(verdict.column)} is none of the values of label.values"
                raise DataError(msg, hint='map every value to 1, 0 or "unknown"')
            return None if text is None else verdict.values[text]
        if value is None or value in (0, 1):
            return None if value is None else int(value)
        msg = f"{self._what}: field {shown(verdict.column)} is none of 1, 0 and null"
        raise DataError(msg)
