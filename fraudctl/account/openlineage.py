"""The life of models as OpenLineage events: what was trained on which data, judged, promoted and rolled back.

Owns the form of the events (https://openlineage.io, run events of version 2-0-2): one for each line of the registry's
log, all complete, with an id that depends on the line alone, so that the same log gives the same bytes. It reads
nothing and sends nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.registry import Entry

SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_FACETS: Final = "https://openlineage.io/spec/facets"
_JOBS: Final = {
    "train": "TRAINING",
    "threshold": "TRAINING",
    "refit": "TRAINING",
    "gate": "EVALUATION",
    "promote": "DEPLOYMENT",
    "rollback": "DEPLOYMENT",
}
"""Event of the log -> kind of job."""


class LineageWriter:
    """Writes the events of one project.

    Parameters
    ----------
    project
        Name of the project, the namespace of its jobs and datasets.
    events
        Where its data are, as the project file says.
    producer
        URI of what wrote the events, with its version.
    bundles
        Version -> bundle, of those that are there.
    """

    def __init__(self, project: str, events: Sequence[str], *, producer: str, bundles: Mapping[str, Bundle]) -> None:
        self._project, self._events, self._producer, self._bundles = project, events, producer, bundles

    def event(self, number: int, entry: Entry) -> JsonObject:
        """Return the event of a line of the log.

        Parameters
        ----------
        number
            Of the line, from 1.
        """
        name = f"urn:fraudctl:{self._project}:{number}:{entry.at}:{entry.event}:{entry.version}"
        return {
            "eventTime": entry.at,
            "eventType": "COMPLETE",
            "producer": self._producer,
            "schemaURL": f"{SPEC}#/$defs/RunEvent",
            "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "facets": self._run_facets(entry)},
            "job": {"namespace": self._project, "name": f"fraudctl.{entry.event}", "facets": self._job_facets(entry)},
            "inputs": self._inputs(entry),
            "outputs": self._outputs(entry),
        }

    def _facet(self, schema: str, **values: Any) -> JsonObject:
        return {"_producer": self._producer, "_schemaURL": schema, **values}

    def _own(self, **values: Any) -> JsonObject:
        return self._facet("urn:fraudctl:openlineage:facet:1", **values)

    def _run_facets(self, entry: Entry) -> JsonObject:
        evidence = entry.evidence or {}
        kept = ("period", "events", "frauds", "evaluation", "report", "judged", "run", "objections", "agreement")
        found = {name: evidence[name] for name in kept if evidence.get(name) is not None}
        facts = {"by": entry.by, "reason": entry.reason, "verdict": entry.verdict, "forced": entry.forced, **found}
        return {
            "fraudctl_decision": self._own(**{key: value for key, value in facts.items() if value is not None}),
            "processing_engine": self._facet(
                f"{_FACETS}/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet",
                version=self._producer.rsplit(":", 1)[-1], name="fraudctl",
            ),
        }  # fmt: skip

    def _job_facets(self, entry: Entry) -> JsonObject:
        schema = f"{_FACETS}/2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"
        kind = {"processingType": "BATCH", "integration": "FRAUDCTL", "jobType": _JOBS[entry.event]}
        return {"jobType": self._facet(schema, **kind)}

    def _inputs(self, entry: Entry) -> list[JsonObject]:
        if entry.event == "train":
            return self._data(entry.version)
        if entry.event == "refit":
            return [*self._data(entry.version), *self._models(entry.previous)]
        if entry.event == "gate":
            return [*self._data(entry.version), *self._models(entry.version, entry.previous)]
        return self._models(entry.previous if entry.event == "threshold" else entry.version)

    def _outputs(self, entry: Entry) -> list[JsonObject]:
        if entry.event in ("train", "threshold", "refit"):
            return self._models(entry.version)
        if entry.event == "gate":
            evidence = entry.evidence or {}
            digest = evidence.get("evaluation")
            return [] if digest is None else [self._dataset(f"evaluation-{entry.version}", version=digest)]
        return [self._dataset("champion", version=entry.version)]

    def _models(self, *versions: str | None) -> list[JsonObject]:
        return [self._model(version) for version in versions if version is not None]

    def _model(self, version: str) -> JsonObject:
        bundle = self._bundles.get(version)
        if bundle is None:
            return self._dataset(f"models/{version}", version=version)
        files = {"files": dict(bundle.manifest["files"]), "as_of": bundle.manifest["as_of"]}
        return self._dataset(f"models/{version}", version=version, fraudctl_model=self._own(**files))

    def _data(self, version: str) -> list[JsonObject]:
        """Return the data of a training; without its bundle their content is not known."""
        bundle = self._bundles.get(version)
        more: JsonObject = {}
        if bundle is not None:
            columns = bundle.features.get("schema", {}).get("events", [])
            fields = [{"name": name, "type": kind if isinstance(kind, str) else kind[0]} for name, kind in columns]
            schema = f"{_FACETS}/1-1-1/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
            more["schema"] = self._facet(schema, fields=fields)
        digest = None if bundle is None else bundle.facts.get("data_fingerprint")
        return [self._dataset(place, version=digest, **more) for place in self._events]

    def _dataset(self, name: str, *, version: str | None = None, **facets: Any) -> JsonObject:
        if version is not None:
            schema = f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
            facets["version"] = self._facet(schema, datasetVersion=version)
        return {"namespace": self._project, "name": name, "facets": facets}
