"""The container files keep their promises even where no engine runs: parsed, and held to what they must have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
KEYWORDS = {
    "FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
    "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Give the Dockerfile's instructions, lines joined and comments dropped."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


@pytest.fixture(scope="module")
def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(at for at, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(document) == {"services", "volumes"}
    found: dict[str, Any] = document["services"]["fraudctl"]
    return found


def test_every_instruction_is_known_and_every_copied_file_is_there() -> None:
    found = instructions()
    assert {word for word, _ in found} <= KEYWORDS
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
                ignored = (ROOT / ".dockerignore").read_text().splitlines()
                assert f"!{name}" in ignored


def test_bases_are_pinned_to_a_supported_python() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert {re.fullmatch(r"python:(3\.1[1-3])-slim", base) is not None for base in bases} == {True}


def test_it_does_not_run_as_root_and_says_how_it_is(last_stage: list[tuple[str, str]]) -> None:
    words = dict(last_stage)
    user, _, group = words["USER"].partition(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert "/readyz" in words["HEALTHCHECK"]
    assert words["STOPSIGNAL"] == "SIGTERM"
    order = [word for word, _ in last_stage]
    assert order.index("USER") > max(at for at, word in enumerate(order) if word in {"RUN", "COPY"})


def test_its_command_is_one_that_fraudctl_has(last_stage: list[tuple[str, str]]) -> None:
    from typer.testing import CliRunner

    from fraudctl.cli.app import app

    words = dict(last_stage)
    command = json.loads(words["ENTRYPOINT"]) + json.loads(words["CMD"])
    assert command[:2] == ["fraudctl", "serve"]
    told = CliRunner().invoke(app, ["serve", "--help"], terminal_width=200).output
    for option in (item for item in command if item.startswith("--")):
        assert option in told
    probe = json.loads(words["HEALTHCHECK"].split("CMD", 1)[1])
    compile(probe[2], "HEALTHCHECK", "exec")


def test_the_service_cannot_write_but_where_it_must(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"] == dict(instructions())["USER"]
    mounts = [text.rsplit(":", 2) for text in service["volumes"]]
    assert [mount[-2:] for mount in mounts if "/model" in mount] == [["/model", "ro"]]
    assert any(mount[-1] == "/state" for mount in mounts)


def test_compiled_loops_are_in_the_image(service: dict[str, Any], last_stage: list[tuple[str, str]]) -> None:
    (environment,) = [rest for word, rest in last_stage if word == "ENV" and "NUMBA" in rest]
    settings = dict(re.findall(r"(\w+)=(\S*)", environment))
    cache, words = settings["NUMBA_CACHE_DIR"], [word for word, _ in last_stage]
    assert settings["NUMBA_CPU_FEATURES"] == ""
    assert settings["NUMBA_CPU_NAME"] == "$LOOPS_CPU"
    assert ("ARG", "LOOPS_CPU=generic") in last_stage
    (warming,) = [at for at, (word, rest) in enumerate(last_stage) if word == "RUN" and "fraudctl warm" in rest]
    assert f"chmod -R a-w,a+rX {cache}" in last_stage[warming][1]
    assert max(at for at, word in enumerate(words) if word in {"COPY", "ENV"}) < warming < words.index("USER")
    assert cache not in json.loads(dict(last_stage)["VOLUME"])
    assert not any(text.endswith(f":{cache}") for text in service["volumes"])
    assert not any(text.startswith(f"{cache}:") for text in service["tmpfs"])


def test_only_a_token_opens_it(service: dict[str, Any]) -> None:
    assert all(text.startswith("127.0.0.1:") for text in service["ports"])
    assert "FRAUDCTL_TOKEN" in service["environment"]
