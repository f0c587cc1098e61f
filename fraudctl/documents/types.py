"""What JSON can hold, as types: the edge between our values and documents.

Inside fraudctl a record is a frozen dataclass. An object of JSON has one of these types where it is made to be written,
and is a read-only ``Mapping[str, Any]`` where it was read and each reader still has to check what it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
"""A value that JSON can hold."""
JsonObject = dict[str, JsonValue]
"""An object that is made to be written as JSON."""
