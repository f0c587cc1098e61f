"""Entities that SQL makes of a column: nominated by names, proposed where their values have histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.project import load_project, parse_project
from fraudctl.propose import Flags
from fraudctl.propose.derived import derived_entities
from fraudctl.propose.profile import open_table
from fraudctl.workflows import measure
from fraudctl.workflows.definitions import load_definitions
from fraudctl.workflows.init import InitResult, init_project

N, CARDS = 3_000, 600


def base() -> pl.DataFrame:
    """Events of 600 cards; those of one domain in ten are mostly fraud, now and then."""
    rng = np.random.default_rng(5)
    card = rng.integers(0, CARDS, N)
    seconds = np.sort(rng.integers(0, 80 * 86_400, N))
    domain = rng.integers(0, 40, N)
    bad = (domain % 8 == 3) & (seconds // (8 * 86_400) % 2 == 0)
    fraud = rng.random(N) < np.where(bad, 0.6, 0.02)
    return pl.DataFrame({
        "txn_id": [f"T{i}" for i in range(N)],
        "created_at": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(s)) for s in seconds],
        "card_number": [f"4{c % 30:05d}{c:010d}" for c in card],
        "email": [f"user{i}@Shop{d}.example" for i, d in enumerate(domain)],
        "ip_address": [f"10.{a}.{b}.{c}" for a, b, c in rng.integers(0, [4, 12, 250], (N, 3))],
        "amount": rng.gamma(2, 30, N).round(2),
        "is_fraud": fraud.astype(int),
    })  # fmt: skip


def init(folder: Path, frame: pl.DataFrame, *, measure: bool = False) -> InitResult:
    frame.write_parquet(folder / "e.parquet")
    flags = Flags(label_delay="3d")
    place = folder / "fraudctl.toml"
    return init_project([str(folder / "e.parquet")], place=place, flags=flags, force=True, measure=measure)


def derived(frame: pl.DataFrame, *, excluded: tuple[str, ...] = (), taken: tuple[str, ...] = ()) -> dict[str, str]:
    """Give name -> SQL of what a table's columns allow."""
    found = derived_entities(
        open_table(frame.lazy(), place="x"), frame["created_at"], excluded=excluded, names_taken=taken
    )
    return {item.entity.name: item.entity.sql for item in found}


def ids(name: str, frame: pl.DataFrame) -> list[str | None]:
    table = open_table(frame.lazy(), place="x")
    found = derived_entities(table, frame["created_at"], excluded=(), names_taken=())
    return next(item.entity for item in found if item.entity.name == name).ids(table).to_list()


def test_each_kind_is_found_and_its_ids_are_right() -> None:
    frame = base()
    assert set(derived(frame)) == {"card_bin", "email_domain", "ip_subnet"}
    assert ids("email_domain", frame) == [text.split("@")[1].lower() for text in frame["email"]]
    assert ids("card_bin", frame) == [text[:8] for text in frame["card_number"]]
    assert ids("ip_subnet", frame) == [text.rpartition(".")[0] for text in frame["ip_address"]]


def test_six_digits_are_taken_where_eight_join_no_cards() -> None:
    frame = base().with_columns(card_number=pl.Series([f"4{i % 30:05d}{i % 97:02d}{i % 600:08d}" for i in range(N)]))
    assert ids("card_bin", frame) == [text[:6] for text in frame["card_number"]]


def test_numbers_and_other_forms_are_read() -> None:
    frame = base()
    numbers = [10 << 24 | i % 40 << 8 | i * 7 % 251 for i in range(N)]
    frame = frame.with_columns(
        card_number=pl.col("card_number").cast(pl.Int64), ip_address=pl.Series(numbers, dtype=pl.Float64) + 0.25
    )
    assert ids("ip_subnet", frame) == [str(number >> 8) for number in numbers]
    assert ids("card_bin", frame) == [str(number)[:8] for number in frame["card_number"]]
    spaced = frame.with_columns(cc_num=pl.col("card_number").cast(pl.String).str.replace(r"(.{4})", "${1} ")).drop(
        "card_number"
    )
    assert ids("cc_bin", spaced) == [text.replace(" ", "")[:8] for text in spaced["cc_num"]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("email", [f"{i:032x}" for i in range(N)]),  # masked
        ("email", [f"u{i}@{'mail.example' if i % 4 else f'd{i % 50}.example'}" for i in range(N)]),  # dominated
        ("email", [f"u{i}@d{i}.example" for i in range(N)]),  # never comes back
        ("email", [f"u@d{i % 50}.example" for i in range(N)]),  # joins nothing
        ("email", [f"u{i}@d{i % 8}.example" for i in range(N)]),  # kinds, not parties
        ("email", [f"u{i}@d{i % 50}.example" if i % 3 == 0 else None for i in range(N)]),  # mostly null
        ("mailing", [f"u{i}@d{i % 50}.example" for i in range(N)]),  # named otherwise
        ("card_number", [f"{i % 600:06d}" for i in range(N)]),
        ("card_number", [f"tok_{i % 600:012d}" for i in range(N)]),
        ("ip_address", [f"2001:db8::{i % 600:x}" for i in range(N)]),
        ("ip_address", [float(i % 600) for i in range(N)]),
    ],
)
def test_values_decide(column: str, values: list[object]) -> None:
    frame = base().drop("email", "card_number", "ip_address").with_columns(pl.Series(column, values))
    assert derived(frame) == {}


def test_other_roles_and_names_that_are_taken_are_left_alone() -> None:
    assert set(derived(base(), excluded=("email",), taken=("ip_subnet",))) == {"card_bin"}


def test_they_are_comments_until_taken_in(tmp_path: Path) -> None:
    """The e-mail has a value of its own in every row and is ignored itself; its domain may be used all the same."""
    found = init(tmp_path, base())
    assert [item.name for item in found.proposal.entities] == ["card", "ip_address"]
    extras = [item for item in found.proposal.extras if item.entity is not None]
    assert [item.family for item in extras] == ["entities.card_bin", "entities.email_domain", "entities.ip_subnet"]
    assert "email" in {item.column for item in found.proposal.rest.ignored}
    features = {item.name for item in load_definitions(load_project(tmp_path)).features.features}
    text = (tmp_path / "fraudctl.toml").read_text()
    for item in extras:
        text = text.replace(f"# {item.entity.name} = ", f"{item.entity.name} = ")
        text = text.replace("\n".join(f"# {line}" for line in item.lines), "\n".join(item.lines))
    project = parse_project(text, path=tmp_path / "fraudctl.toml")
    more = [item for item in load_definitions(project).features.features if item.name not in features]
    assert {item.entity for item in more} == {"card_bin", "email_domain", "ip_subnet"}
    assert len(more) == sum(item.n_features for item in extras)
    assert found.proposal.to_dict()["more_features"]["entities.card_bin"]["sql"].startswith("left(")


def test_what_pays_in_later_periods_is_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "TREES", 40)
    found = init(tmp_path, base(), measure=True)
    active = {item.family: item.active for item in found.proposal.extras if item.entity is not None}
    assert active == {"entities.card_bin": False, "entities.email_domain": True, "entities.ip_subnet": False}
    project = load_project(tmp_path)
    assert list(project.entities) == ["card", "ip_address", "email_domain"]
    features = load_definitions(project).features.features
    assert any(item.entity == "email_domain" for item in features)
    assert found.proposal.n_features == len(features)


def test_where_nothing_else_comes_back_they_are_the_entities(tmp_path: Path) -> None:
    frame = base().drop("card_number")
    frame = frame.with_columns(ip_address=pl.Series([f"10.1.{i // 250}.{i % 250}" for i in range(N)]).shuffle(seed=1))
    found = init(tmp_path, frame)
    assert [item.name for item in found.proposal.entities] == ["email_domain"]
    assert not [item for item in found.proposal.extras if item.entity is not None]
    features = load_definitions(load_project(tmp_path)).features
    assert "email_domain_count_7d" in features.names
