"""The manifests for Kubernetes, offline: against the API's schemas, fraudctl's own parser, and their promises."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from fraudctl.cli.app import app
from fraudctl.errors import ExitCode
from fraudctl.stream.topics import read_partitions

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
LEVELS = ("base", "overlays/stream", "overlays/first-start", "overlays/spark")
VERSIONS = ("1.31.0", "1.34.0")
"""Of Kubernetes, besides the newest that the schemas are known of."""
ROOT: Any = typer.main.get_command(app)
Manifest = dict[str, Any]


def rendered(place: Path) -> list[Manifest]:
    """Give what `kustomize build` makes of the parts of kustomize that are used here."""
    level = yaml.safe_load((place / "kustomization.yaml").read_text())
    assert set(level) <= {"apiVersion", "kind", "namespace", "labels", "resources", "images", "patches"}
    out: list[Manifest] = []
    for name in level["resources"]:
        target = (place / name).resolve()
        out += rendered(target) if target.is_dir() else list(yaml.safe_load_all(target.read_text()))
    out = copy.deepcopy(out)
    for item in out:
        for container in containers(item):
            for image in level.get("images", []):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    for patch in level.get("patches", []):
        want = patch["target"]
        hit = [i for i in out if i["kind"] == want["kind"] and re.fullmatch(want["name"], i["metadata"]["name"])]
        assert hit, want
        for item in hit:
            for step in yaml.safe_load(patch["patch"]):
                apply(item, step)
    return out


def apply(item: Manifest, step: dict[str, Any]) -> None:
    """Do one step of a JSON patch: only `add` to the end of a list is used."""
    assert step["op"] == "add"
    *way, last = step["path"].strip("/").split("/")
    at: Any = item
    for part in way:
        at = at[int(part)] if isinstance(at, list) else at[part]
    assert last == "-"
    at.append(step["value"])


def pod_of(item: Manifest) -> Manifest | None:
    """Give the spec of the pods of a workload."""
    if item["kind"] == "CronJob":
        found: Manifest = item["spec"]["jobTemplate"]["spec"]["template"]
        return found
    return item["spec"]["template"] if item["kind"] in {"StatefulSet", "Job"} else None


def containers(item: Manifest) -> list[Manifest]:
    pod = pod_of(item)
    return [] if pod is None else pod["spec"]["containers"] + pod["spec"].get("initContainers", [])


@pytest.fixture(scope="module", params=LEVELS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(DEPLOY / request.param)


def workloads(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    for item in manifests:
        pod = pod_of(item)
        if pod is not None:
            yield item, pod


def test_every_file_belongs_to_a_level() -> None:
    named = {
        (DEPLOY / level / name).resolve()
        for level in LEVELS
        for name in yaml.safe_load((DEPLOY / level / "kustomization.yaml").read_text())["resources"]
    }
    files = {path.resolve() for path in DEPLOY.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert files == {path for path in named if path.is_file()}


@pytest.fixture(scope="module")
def schemas() -> Iterator[ModuleType]:
    """The schemas of Kubernetes, whose files of megabytes are read once and not for each manifest."""
    found = pytest.importorskip("kubernetes_validate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found.utils, "schema_contents", cache(found.utils.schema_contents))
        yield found


def test_all_fit_the_schemas_of_kubernetes(manifests: list[Manifest], schemas: ModuleType) -> None:
    for item in manifests:
        for version in (*VERSIONS, schemas.latest_version()):
            schemas.validate(item, version, strict=True)


def test_the_schemas_find_a_slip(schemas: ModuleType) -> None:
    item = next(i for i in rendered(DEPLOY / "base") if i["kind"] == "CronJob")
    item["spec"]["jobTemplate"]["spec"]["podFailurePolicies"] = {}
    with pytest.raises(schemas.ValidationError):
        schemas.validate(item, schemas.latest_version(), strict=True)


def parsed(container: Manifest) -> tuple[str, dict[str, Any]]:
    """Hold the command line of a container to the command that it names; return its options."""
    assert container["command"] == ["fraudctl"]
    words = [word.replace("$(SHARD)", "3") for word in container["args"]]
    with ROOT.commands[words[0]].make_context(words[0], words[1:]) as context:
        return words[0], dict(context.params)


def test_command_lines_are_what_the_parser_takes(manifests: list[Manifest]) -> None:
    found = {}
    for _, pod in workloads(manifests):
        for container in pod["spec"]["containers"]:
            name, options = parsed(container)
            found[name] = options
            mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
            places = [value for key, value in options.items() if key in {"state", "properties", "project", "output"}]
            texts = [str(place) for place in places if place is not None and str(place) != "."]
            assert all(any(text.startswith(mount) for mount in mounted) for text in texts), (name, texts)
    assert {"features", "retrain", "monitor", "serve"} <= set(found)
    assert found["serve"]["host"] == "0.0.0.0"  # noqa: S104 - within the pod; the network policy says who may
    assert read_partitions(found.get("consume", {"partitions": "3"})["partitions"]) == {3}


def begins_empty(manifests: list[Manifest]) -> Iterator[bool]:
    for item, pod in workloads(manifests):
        if item["kind"] == "StatefulSet":
            yield from (parsed(container)[1]["new"] for container in pod["spec"]["containers"])


def test_only_the_first_start_lets_a_state_begin_empty() -> None:
    new = {level: set(begins_empty(rendered(DEPLOY / level))) for level in LEVELS}
    assert new == {
        "base": {False},
        "overlays/stream": {False},
        "overlays/first-start": {True},
        "overlays/spark": {False},
    }


def test_jobs_run_one_at_a_time_and_try_again_only_what_may_end_otherwise(manifests: list[Manifest]) -> None:
    jobs = [item for item in manifests if item["kind"] == "CronJob"]
    assert {item["metadata"]["name"] for item in jobs} == {"features", "retrain", "monitor"}
    for item in jobs:
        spec = item["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["timeZone"] == "Etc/UTC"
        assert all(re.fullmatch(r"[\d*/,-]+", part) for part in spec["schedule"].split())
    once = [item["spec"] for item in manifests if item["kind"] == "Job"]
    for job in [*once, *(item["spec"]["jobTemplate"]["spec"] for item in jobs)]:
        assert job["backoffLimit"] > 0
        assert job["template"]["spec"]["restartPolicy"] == "Never"
        (final,) = [rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
        assert final["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
        assert final["onExitCodes"]["operator"] == "In"
        answers = {code.value for code in ExitCode} - {ExitCode.OK, ExitCode.BUG, ExitCode.INTERRUPTED}
        assert set(final["onExitCodes"]["values"]) == answers == {1, 2, 3, 4, 5}


def test_pods_may_do_nothing_but_their_work(manifests: list[Manifest]) -> None:
    (account,) = [item for item in manifests if item["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    for _, pod in workloads(manifests):
        spec = pod["spec"]
        assert spec["serviceAccountName"] == account["metadata"]["name"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 10_000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
            assert re.fullmatch(r"registry\.example\.org/fraudctl:\d+\.\d+\.\d+", container["image"])


def test_nothing_goes_in_or_out_unless_it_is_said(manifests: list[Manifest]) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in manifests if item["kind"] == "NetworkPolicy"}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [pod["metadata"]["labels"] for _, pod in workloads(manifests)]
    for name, spec in policies.items():
        wanted = spec["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= own.items() for own in labels), name
        assert all(rule for rule in (*spec.get("ingress", []), *spec.get("egress", []))), "an empty rule allows all"


def test_each_shard_has_a_volume_of_its_own_and_time_to_end(manifests: list[Manifest]) -> None:
    sets = [item for item in manifests if item["kind"] == "StatefulSet"]
    budgets = {item["metadata"]["name"]: item["spec"] for item in manifests if item["kind"] == "PodDisruptionBudget"}
    services = {item["metadata"]["name"]: item["spec"] for item in manifests if item["kind"] == "Service"}
    assert {"serve"} <= {item["metadata"]["name"] for item in sets}
    for item in sets:
        name, spec = item["metadata"]["name"], item["spec"]
        labels = spec["template"]["metadata"]["labels"]
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 60
        for selector in (spec["selector"], budgets[name]["selector"]):
            assert selector["matchLabels"].items() <= labels.items()
        assert services[spec["serviceName"]]["selector"].items() <= labels.items()
    (server,) = [c for item in sets if item["metadata"]["name"] == "serve" for c in containers(item)]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"http": parsed(server)[1]["port"]}
    assert server["startupProbe"]["httpGet"]["path"] == server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_volumes_that_are_mounted_are_there(manifests: list[Manifest]) -> None:
    claims = {item["metadata"]["name"] for item in manifests if item["kind"] == "PersistentVolumeClaim"}
    for item, pod in workloads(manifests):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        own = {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == {*volumes, *own}
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims


def test_the_job_for_spark_reaches_its_server_and_nothing_else_that_is_new() -> None:
    manifests, base = rendered(DEPLOY / "overlays" / "spark"), rendered(DEPLOY / "base")
    (job,) = [item for item in manifests if item["kind"] == "Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    name, options = parsed(container)
    assert (name, options["spark"]) == ("features", "sc://spark-connect.spark:15002")
    known = {item["metadata"]["name"] for item in base if item["kind"] == "NetworkPolicy"}
    (policy,) = [i for i in manifests if i["kind"] == "NetworkPolicy" and i["metadata"]["name"] not in known]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "backfill"}
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": urlsplit(options["spark"]).port, "protocol": "TCP"}]
    (host,) = [urlsplit(options["spark"]).hostname]
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": host.split(".")[1]}
