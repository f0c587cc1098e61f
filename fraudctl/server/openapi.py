"""The OpenAPI document of a server: what it takes depends on the columns that its model was trained with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from fraudctl.data.identities import flat, source_columns
from fraudctl.policy.provenance import FIELDS, KINDS, SLOT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fraudctl.documents.types import JsonObject
    from fraudctl.project import Project
    from fraudctl.scoring.decider import Decider
    from fraudctl.server.service import Service

_ERROR: Final[JsonObject] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string"}, "hint": {"type": ["string", "null"]}},
        }
    },
}
_REFUSALS = {
    "400": "The body is no JSON", "401": "No token, or a wrong one", "408": "The body did not arrive in time",
    "413": "The body is too large", "415": "The body is encoded", "422": "What it says does not fit the model's data",
    "429": "Too many decisions a second", "503": "The log cannot be written, or memory is full",
}  # fmt: skip


def document(service: Service, *, secured: bool) -> JsonObject:
    """Return the OpenAPI 3.1 document.

    Parameters
    ----------
    secured
        Whether clients need a token.
    """
    from fraudctl import __version__

    decider = service.engine.champion
    data, schema = decider.project.data, decider.schema
    needed = list(decider.reader.columns)
    columns = _columns(schema.events, needed, ids=[data.event_id], times=[data.event_time or ""])
    id_type = columns[data.event_id]
    schemas = {
        "Event": _object(columns | _declined(columns, needed, decider.project), needed),
        "Label": _label(id_type, data.label_values, in_tables=bool(decider.project.labels.tables)),
        "Decision": _decision(id_type, decider.policy.actions),
        "Error": _ERROR,
        "Taken": _taken(),
    }
    paths = _paths(service.limits.items)
    for name in decider.reader.source_names:
        schemas[f"Source-{name}"] = _source(decider, name)
        paths[f"/sources/{name}"] = {
            "post": _post(f"Rows of the table {name}", f"Source-{name}", "Taken", service.limits.items)
        }
    token = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if secured else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"fraudctl {decider.project.project.name}", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, **token},
        **({"security": [{"token": []}]} if secured else {}),
    }


def _paths(most: int) -> dict[str, JsonObject]:
    """Return what the server answers whatever its model is; ``most`` items in a request."""
    return {
        "/decisions": {"post": _post("Decide on one event or several", "Event", "Decision", most)},
        "/labels": {"post": _post("Outcomes that have arrived", "Label", "Taken", most)},
        "/admin/reload": {"post": _get("Reload the bundles", {"type": "object"}, refused="They cannot be used")},
        "/healthz": {"get": _get("Whether the process lives", {"type": "object"})},
        "/readyz": {"get": _get("Whether it takes requests", {"type": "object"})},
        "/version": {"get": _get("What decides", {"type": "object"})},
        "/openapi.json": {"get": _get("This document", {"type": "object"})},
        "/dashboard": {"get": _get("The page that `fraudctl dashboard` wrote last", None, text="text/html")},
        "/metrics": {"get": _get("Counters for Prometheus", None)},
    }


def _source(decider: Decider, name: str) -> JsonObject:
    """Return the type of a row of another table."""
    section = decider.project.sources[name]
    times = [section.event_time, *([section.known_time] if section.known_time else [])]
    needed = [*times, *flat(source_columns(decider.project, name)), *decider.features.sources[name]]
    return _object(_columns(decider.schema.sources[name], needed, ids=[], times=times), needed)


def _columns(
    columns: Mapping[str, pl.DataType], needed: list[str], *, ids: list[str], times: list[str]
) -> dict[str, JsonObject]:
    """Return the type of each column."""
    return {
        name: _type(dtype, nullable=name not in {*ids, *times}, time=name in times)
        if name in needed
        else {"description": "Not looked at"}
        for name, dtype in columns.items()
    }


def _object(properties: dict[str, JsonObject], needed: list[str]) -> JsonObject:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(dict.fromkeys(needed)),
    }


def _declined(columns: Mapping[str, JsonObject], needed: list[str], project: Project) -> dict[str, JsonObject]:
    """Return what the column of ``[labels] declined`` means in an event, which may be without it."""
    section = project.labels.declined
    if section is None:
        return {}
    told = (
        f"{json.dumps(list(section.values))} say that the event was declined: it never becomes legitimate for want of "
        "a report. Usually decided after the score: leave it out, and send a label of null"
    )
    known = {} if section.column not in needed else columns[section.column]
    return {section.column: {**known, "description": told}}


def _type(dtype: pl.DataType, *, nullable: bool, time: bool) -> JsonObject:
    if time or isinstance(dtype, pl.Datetime):
        out: JsonObject = {"type": "string", "format": "date-time"}
    elif dtype == pl.Date:
        out = {"type": "string", "format": "date"}
    elif dtype.is_integer():
        out = {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1}
    elif dtype.is_numeric():
        out = {"type": "number"}
    elif dtype == pl.Boolean:
        out = {"type": "boolean"}
    else:
        out = {"type": "string"}
    return {**out, "type": [out["type"], "null"]} if nullable else out


def _label(id_type: Any, values: Mapping[str, int | None], *, in_tables: bool) -> JsonObject:
    told = "As in the data; null says that the outcome is not known"
    if in_tables:
        told = (
            "1 fraud, 0 legitimate, null: the event was declined, and silence says nothing of it. An event may have "
            "several: the one with the latest label_time counts"
        )
    known = [*values, *(int(text) for text in values if text.isdigit())] if values else [0, 1, True, False]
    return {
        "type": "object", "additionalProperties": False, "required": ["event_id", "label", "label_time"],
        "properties": {"event_id": id_type, "label": {"description": told, "enum": [*known, None]},
                       "label_time": {"type": "string", "format": "date-time"}, "type": {"const": "label"}},
    }  # fmt: skip


def _decision(id_type: Any, actions: tuple[str, ...]) -> JsonObject:
    reason: JsonObject = {
        "type": "object",
        "properties": {"feature": {"type": "string"}, "text": {"type": "string"}, "contribution": {"type": "number"}},
    }
    text: JsonObject = {"type": ["string", "null"]}
    slot: JsonObject = {
        "type": ["object", "null"], "required": list(SLOT_FIELDS),
        "properties": {"action": {"enum": list(actions)}, "per": {"enum": ["day", "week"]},
                       "left": {"type": "integer"}, "price": {"type": "number"}},
    }  # fmt: skip
    by: JsonObject = {
        "type": "object", "required": list(FIELDS), "description": "By what the action was decided",
        "properties": {"kind": {"enum": list(KINDS)}, "rule": text, "instead_of": {"enum": [*actions, None]},
                       "threshold": {"type": ["number", "null"]}, "segment": text, "slot": slot},
    }  # fmt: skip
    return {
        "type": "object",
        "required": ["event_id", "probability", "action", "decided_by", "reasons", "policy", "model"],
        "properties": {
            "event_id": id_type,
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
            "action": {"enum": list(actions)},
            "decided_by": by,
            "reasons": {"type": "array", "maxItems": 4, "items": reason},
            "policy": {"type": "string"},
            "model": {"type": "string"},
            "features": {"type": "object"},
            "experiment": {"type": "object", "description": "With --split: which arm the event belongs to"},
            "control_group": {"type": "boolean", "description": "With --control: drawn, whatever the model said"},
            "exposure_prob": {"type": "number", "minimum": 0, "maximum": 1},
        },
    }


def _taken() -> JsonObject:
    return {"type": "object", "required": ["taken"], "properties": {"taken": {"type": "integer"}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_or_many(name: str, most: int) -> JsonObject:
    return {"oneOf": [_ref(name), {"type": "array", "minItems": 1, "maxItems": most, "items": _ref(name)}]}


def _content(schema: Any) -> JsonObject:
    return {"application/json": {"schema": schema}}


def _post(summary: str, takes: str, gives: str, most: int) -> JsonObject:
    each: JsonObject = {"type": "array", "items": {"anyOf": [_ref("Decision"), _ref("Error")]}}
    decided: JsonObject = {"oneOf": [_ref("Decision"), each]}
    good = {"200": decided} if gives == "Decision" else {"202": _ref(gives)}
    answers: JsonObject = {
        status: {"description": summary, "content": _content(schema)} for status, schema in good.items()
    }
    answers |= {
        status: {"description": words, "content": _content(_ref("Error"))} for status, words in _REFUSALS.items()
    }
    if takes == "Event":
        words = "An event with this id and other values was decided before"
        answers["409"] = {"description": words, "content": _content(_ref("Error"))}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(_one_or_many(takes, most))},
        "responses": answers,
    }


def _get(summary: str, gives: Any, *, refused: str | None = None, text: str = "text/plain") -> JsonObject:
    content: JsonObject = {text: {"schema": {"type": "string"}}} if gives is None else _content(gives)
    answers: JsonObject = {"200": {"description": summary, "content": content}}
    for status in ("401", "503"):
        answers[status] = {"description": _REFUSALS[status], "content": _content(_ref("Error"))}
    if refused is not None:
        answers["409"] = {"description": refused, "content": _content(_ref("Error"))}
    return {"summary": summary, "responses": answers}
