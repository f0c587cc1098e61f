"""Passes: every feature once, from columns that are there, and no entity is visited more often than it must be."""

from __future__ import annotations

from contract.test_families import SECTIONS
from features import complete
from features.batch.test_sources import SCHEMA as SOURCE_SCHEMA
from features.batch.test_sources import SECTION, TABLE
from features.conftest import SCHEMA, _project
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.features import define
from fraudctl.features.batch.engine import PRIOR
from fraudctl.features.batch.passes import EVERYBODY, RowLevel, passes
from fraudctl.features.meaning.definition import SourceTable

SOURCES = {**SOURCE_SCHEMA, **complete.TIMES}
COLUMNS = {"event_id", "event_time", "amount", "label", "label_time", "card", "shop", *SCHEMA}
BUILT_ON = """
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["sum(large)", "max(shop_count_1d)"]
[features.columns]
large = "shop_mean_size_1d > 1"
twice = "card_sum_large_1d * 2"
"""


def features_of(keys):
    parts = [SECTIONS[key].partition("[features.columns]") for key in keys]
    columns = dict.fromkeys(line for *_, below in parts for line in below.splitlines() if "=" in line)
    text = TABLE + "".join(above for above, *_ in parts) + "\n[features.columns]\n" + "\n".join(columns)
    return define(_project(text), SCHEMA, sources={"logins": SourceTable(SECTION, SOURCES)})


def check(features):
    rows, given_before = RowLevel(features), set(COLUMNS)
    for item in passes(features):
        for name in rows.with_needs(item.reads, given_before):
            assert name in given_before or rows.is_one(name), (name, item)
        for feature in item.members:
            assert (feature.spec.partitioned_by or EVERYBODY) == item.entity
        given_before.update(item.names)
    given_in = [name for item in passes(features) for name in item.names if name != PRIOR]
    assert sorted(given_in) == sorted(step.name for step in features.steps if not step.spec.of_one_row)


@given(keys=st.sets(st.sampled_from(sorted(SECTIONS)), min_size=1))
def test_every_feature_is_given_once_and_from_what_was_given_before(keys):
    check(features_of(sorted(keys)))


def test_an_entity_comes_back_only_for_what_had_to_wait():
    features = complete.everything()
    check(features)
    found = passes(features)
    assert found[0].names == [PRIOR]
    rows = RowLevel(features)
    for at, item in enumerate(found[1:], start=1):
        last = max((i for i in range(1, at) if found[i].entity == item.entity), default=None)
        if last is None:
            continue
        since = {name for other in found[last:at] for name in other.names}
        for feature in item.members:
            needed = rows.with_needs(feature.spec.needs)
            assert since & set(needed), f"{feature.name} could have been computed in pass {last}"


def test_a_feature_that_looks_back_on_another_entity_s_waits_for_it():
    features = define(_project(SECTIONS["window"].split("[[features.window]]\nsource")[0] + BUILT_ON), SCHEMA)
    check(features)
    entities = [item.entity for item in passes(features)]
    assert entities == ["shop", "card"]
