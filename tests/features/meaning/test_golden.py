"""What was saved before still loads: digests of definitions, their words, and a saved online state, bit for bit."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass

import pytest
from features import complete
from features.online.test_online import DELAY, assert_equal_bits, send
from features.proof.test_against_reference import ZONE

from fraudctl.features.meaning.frozen import data_text, source_text, written
from fraudctl.features.online import from_bytes, to_bytes
from fraudctl.project.data import DataSection
from fraudctl.project.sources import SourceSection
from fraudctl.project.types import Section

GOLDEN = [json.loads(line) for line in (complete.GOLDEN / "definitions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def features():
    return complete.everything()


def test_the_digest_of_definitions_is_that_of_before(features):
    assert features.digest == GOLDEN[0]["digest"]


def test_names_words_intervals_and_null_rules_are_those_of_before(features):
    described = [[s.name, s.family, s.entity, s.dtype, s.words, s.interval, s.nulls] for s in features.steps]
    assert described == GOLDEN[1:]


def test_a_state_of_before_is_read_and_goes_on_bit_for_bit(features):
    saved = lzma.decompress((complete.GOLDEN / "state.xz").read_bytes())
    state = from_bytes(saved, features, timezone=ZONE, label_delay_us=DELAY)
    again = complete.state_after(complete.CUT)
    assert to_bytes(again) == saved == to_bytes(state)
    rest = complete.messages()[complete.CUT :]
    assert_equal_bits(send(again, rest), send(state, rest))


@dataclass(frozen=True)
class Renamed:
    """A definition whose class, module and fields are other ones than when its text was frozen."""

    entity: str
    more: int = 0


def test_the_text_of_definitions_knows_no_class_and_writes_new_fields_only_where_they_are_used():
    assert written("Spec", ["entity"], Renamed("card")) == "Spec(entity='card')"
    assert written("Spec", ["entity"], Renamed("card", 3)) == "Spec(entity='card', more=3)"


def test_the_text_of_sections_is_that_of_before():
    data = DataSection(events="a", event_id="id", event_time="at", label="y", label_delay="2d")
    text = (
        "DataSection(events='', event_id='id', event_time='at', amount=None, label='y', label_values={}, "
        "label_time=None, label_delay=Duration(seconds=172800, text='2d'), timezone='UTC', ignore=(), weight=None, "
        "exposure_prob=None, control_group=None)"
    )
    assert data_text(data) == text

    class Part(Section):
        a: int = 1
        b: int = 2

    class More(DataSection):
        more: str | None = None
        also: Part = Part()

    fields = data.model_dump() | {"label_delay": "2d"}
    assert data_text(More(**fields)) == text
    assert data_text(More(**fields, more="x", also={"b": 3})) == text[:-1] + ", also=(b=3), more='x')"
    section = SourceSection(events="a", event_time="at", entities={"card": "card_id"})
    expected = "SourceSection(events='', event_time='at', known_time=None, entities={'card': 'card_id'})"
    assert source_text(section) == source_text(section.model_copy(update={"events": "b"})) == expected
