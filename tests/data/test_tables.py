"""Tables: roles, times, labels, duplicates, and errors that say what, where and what to do."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudctl.data import outputs, tables
from fraudctl.errors import DataError, UsageError
from fraudctl.project import Project, parse_project

BASE: dict[str, list[Any]] = {
    "id": ["b", "a", "c"],
    "t": [datetime(2024, 1, 2), datetime(2024, 1, 2), datetime(2024, 1, 1)],
    "a": [1.5, None, float("nan")],
    "y": [0, 1, None],
    "c": [7.0, None, 8.0],
    "mcc": ["x", "y", None],
}
Load = Callable[..., tables.Events]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def go(extra: str = "", columns: tuple[str, ...] = (), **changes: list[Any]) -> tables.Events:
        pl.DataFrame({**BASE, **changes}).write_parquet(tmp_path / "x.parquet")
        return tables.load_events(project(tmp_path, extra), columns=columns)

    return go


def project(folder: Path, extra: str = "", events: str = "x.parquet") -> Project:
    text = (
        f'[data]\nevents = "{events}"\nevent_id = "id"\nevent_time = "t"\namount = "a"\nlabel = "y"\n'
        f'label_delay = "7d"\n{extra}\n[entities]\ncard = "c"\n'
    )
    return parse_project(text, path=folder / "fraudctl.toml")


def test_roles_types_and_order(load: Load) -> None:
    events = load(columns=("mcc",))
    assert events.frame.schema == pl.Schema({
        "event_id": pl.String, "event_time": tables.UTC_US, "amount": pl.Float64, "label": pl.Int8,
        "label_time": tables.UTC_US, "card": pl.Int64, "mcc": pl.String,
    })  # fmt: skip
    assert events.frame["event_id"].to_list() == ["c", "a", "b"]  # by time, then by id
    assert events.frame["amount"].to_list() == [None, None, 1.5]  # NaN is no amount
    assert events.known_until == datetime(2024, 1, 2, tzinfo=UTC)


def test_labels_without_a_time_arrive_after_the_delay_and_unknown_ones_never(load: Load) -> None:
    events = load().frame
    assert events["label_time"].to_list() == [None, datetime(2024, 1, 9, tzinfo=UTC), datetime(2024, 1, 9, tzinfo=UTC)]


def test_stated_label_times_win_over_the_delay(load: Load) -> None:
    stated = [None, datetime(2024, 1, 3), datetime(2024, 1, 4)]
    events = load('label_time = "lt"', lt=stated).frame.sort("event_id")
    assert events["label_time"].to_list() == [
        datetime(2024, 1, 3, tzinfo=UTC),
        datetime(2024, 1, 9, tzinfo=UTC),
        None,  # arrived, it says, but there is no label
    ]


def test_exact_duplicates_are_dropped_and_counted(load: Load) -> None:
    events = load(**{name: [*values, values[0], values[0]] for name, values in BASE.items()})
    assert (events.n_duplicates, events.frame.height) == (2, 3)


def test_duplicates_differ_if_any_column_of_the_file_differs(load: Load) -> None:
    doubled = {name: [*values, values[0]] for name, values in BASE.items()}
    with pytest.raises(DataError, match="2 rows share their event id"):
        load(**{**doubled, "mcc": ["x", "y", None, "z"]})


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_time_units_are_normalised(load: Load, unit: Any) -> None:
    times = pl.Series(BASE["t"]).dt.cast_time_unit(unit)
    assert load(t=times).frame["event_time"].to_list() == load().frame["event_time"].to_list()


def test_local_times_are_read_in_the_projects_zone(load: Load) -> None:
    summer = [datetime(2024, 7, 1, 12)] * 3
    assert load('timezone = "Europe/Berlin"', t=summer).known_until == datetime(2024, 7, 1, 10, tzinfo=UTC)


def test_a_time_that_happens_twice_is_the_earlier_and_one_that_never_happens_an_error(load: Load) -> None:
    twice = [datetime(2024, 10, 27, 2, 30)] * 3
    assert load('timezone = "Europe/Berlin"', t=twice).known_until == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    with pytest.raises(DataError, match="3 times do not exist in Europe/Berlin"):
        load('timezone = "Europe/Berlin"', t=[datetime(2024, 3, 31, 2, 30)] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": [0, 1, 2]}, "1 of 3 values are neither 1, 0 nor null"),
        ({"y": ["f", "l", None]}, "is String; expected 1, 0 or null"),
        ({"c": [1.5, 2.0, None]}, "1 ids are not whole numbers"),
        ({"t": [1, 2, 3]}, "is Int64; expected a timestamp"),
        ({"t": ["noon", "2024-01-01", "2024-01-02"]}, "1 of 3 texts are not ISO 8601"),
        ({"t": [None, datetime(2024, 1, 1), datetime(2024, 1, 1)]}, "1 times are null"),
        ({"a": [None, None, None]}, "all 3 values are null"),
        ({"a": ["1", "2", "3"]}, "is String; expected a number"),
        ({"id": ["a", None, "b"]}, "1 event ids are null"),
        ({"id": [1.5, 2.5, 3.5]}, "is Float64, and 3 ids are not whole numbers; expected integers or text"),
    ],
)
def test_bad_columns_give_one_clear_error(load: Load, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(**changes)


def test_errors_never_show_cell_values(load: Load) -> None:
    with pytest.raises(DataError) as caught:
        load(t=["4111-1111-1111-1111", "2024-01-01", "2024-01-02"])
    assert "4111" not in caught.value.message + (caught.value.hint or "")


def test_label_values_map_other_encodings(load: Load) -> None:
    mapping = 'label_values = { 2 = "unknown", 1 = 1, 0 = 0 }'
    assert load(mapping, y=[2, 1, 0]).frame.sort("event_id")["label"].to_list() == [1, None, 0]
    with pytest.raises(DataError, match="1 values are not in"):
        load(mapping, y=[3, 1, 0])


def test_a_label_before_its_event_is_an_error(load: Load) -> None:
    with pytest.raises(DataError, match="2 labels arrived before their event"):
        load('label_time = "lt"', lt=[datetime(2023, 1, 1)] * 3)


def test_missing_empty_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        tables.load_events(project(tmp_path))
    path = tmp_path / "x.parquet"
    pl.DataFrame(BASE).clear().write_parquet(path)
    with pytest.raises(DataError, match="no rows"):
        tables.load_events(project(tmp_path))
    pl.DataFrame(BASE).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        tables.load_events(project(tmp_path))


def test_a_missing_column_is_named_with_those_that_are_there(load: Load) -> None:
    with pytest.raises(DataError, match=r"no column 'nope'; the table has id, t, a"):
        load(columns=("nope",))


def test_globs_folders_and_csv_give_the_same_events(tmp_path: Path) -> None:
    frame = pl.DataFrame(BASE).with_columns(pl.col("a").fill_nan(None))
    (tmp_path / "day=1").mkdir()
    frame[:2].write_parquet(tmp_path / "day=1" / "p.parquet")
    (tmp_path / "day=2").mkdir()
    frame[2:].write_parquet(tmp_path / "day=2" / "p.parquet")
    by_glob = tables.load_events(project(tmp_path, events="day=*/*.parquet")).frame
    (tmp_path / "csv").mkdir()
    frame.write_csv(tmp_path / "csv" / "x.csv")
    by_csv = tables.load_events(project(tmp_path, events="csv")).frame
    assert by_csv["card"].to_list() == ["8", None, "7"]  # ids in CSV are text; 7.0 is how a null beside it is written
    assert by_glob.with_columns(pl.col("card").cast(pl.String)).equals(by_csv)


@pytest.mark.parametrize("notation", ["%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%d-%m-%Y"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_which_number_is_the_day_is_never_guessed(tmp_path: Path, notation: str, form: str) -> None:
    frame = pl.DataFrame(BASE).with_columns(pl.col("t").dt.strftime(notation))
    getattr(frame, f"write_{form}")(tmp_path / f"x.{form}")
    with pytest.raises(DataError, match="texts are not ISO 8601 times") as caught:
        tables.load_events(project(tmp_path, events=f"x.{form}"))
    assert "year first" in str(caught.value.hint)


def test_the_file_that_does_not_fit_the_others_is_named(tmp_path: Path) -> None:
    frame = pl.DataFrame(BASE)
    for name in "abc":
        frame.write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"/b\.parquet: cannot be read as Parquet"):
        tables.load_events(project(tmp_path, events="*.parquet"))
    frame.with_columns(pl.col("y").cast(pl.Float64)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"/b\.parquet: column 'y' is Float64; expected Int64.*/a\.parquet"):
        tables.load_events(project(tmp_path, events="*.parquet"))
    frame.with_columns(more=1).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"/b\.parquet: has a column 'more', which not .*a\.parquet has"):
        tables.load_events(project(tmp_path, events="*.parquet"))


def test_an_interruption_inside_polars_is_one() -> None:
    with pytest.raises(KeyboardInterrupt), tables.explained(["x.csv"]):
        raise pl.exceptions.PanicException("python function failed KeyboardInterrupt: ")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    outputs.write_parquet(pl.DataFrame({"a": [1]}), path)
    with pytest.raises(pl.exceptions.PolarsError), outputs.whole_file(path) as temporary:
        pl.read_parquet(temporary)  # the block fails with the temporary file there
    assert [item.name for item in tmp_path.iterdir()] == ["out.parquet"]
    assert tables.read_parquet(path)["a"].to_list() == [1]


def test_a_full_disk_is_told_whoever_writes(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    frame = pl.DataFrame({"a": [1]})
    for write in (frame.write_parquet, frame.lazy().sink_parquet, lambda place: place.write_bytes(b"a")):
        with pytest.raises(UsageError, match="cannot be written: No space left"), outputs.whole_file(tmp_path / "a"):
            write(full)
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame(BASE).write_parquet(path)
    first = tables.fingerprint([str(path)])
    assert first == tables.fingerprint([str(path)])
    pl.DataFrame({**BASE, "y": [1, 1, None]}).write_parquet(path)
    assert tables.fingerprint([str(path)]) != first


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u2003", "\x1c\x85"])
def test_an_id_of_spaces_names_nothing_and_is_what_python_calls_space(name: str) -> None:
    assert tables.n_empty(pl.Series(["a", name, None, " b "])) == 2
    assert all(character.isspace() for character in tables.BLANK)
    assert {chr(code) for code in range(0x11000) if chr(code).isspace()} == set(tables.BLANK)


def test_a_column_name_that_would_end_the_process_is_refused(tmp_path: Path) -> None:
    """Arrow hands names over as C strings: one with a NUL character ended `train` with SIGABRT."""
    pl.DataFrame({"a": [1], "card\0number": [2]}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="name of column 2 holds a NUL character") as error:
        tables.scan([str(tmp_path / "e.parquet")])
    assert "card" not in error.value.message


@pytest.mark.parametrize("unused", [True, False])
def test_a_csv_header_that_names_a_column_twice_is_refused_by_name(tmp_path: Path, unused: bool) -> None:
    header = "id,at,eur,extra,extra" if unused else "id,at,eur,eur,fraud"
    (tmp_path / "e.csv").write_text(f"{header}\n1,2026-01-01 00:00:00,5,1,0\n")
    with pytest.raises(DataError, match=r"e\.csv: the header names '(extra|eur)' more than once") as refused:
        tables.scan([str(tmp_path / "e.csv")])
    assert refused.value.hint == "give each column a name of its own"
    (tmp_path / "f.csv").write_text("id,x,x_duplicated_0\n1,2,3\n")
    assert tables.scan([str(tmp_path / "f.csv")]).collect().columns == ["id", "x", "x_duplicated_0"]


def test_ids_of_spaces_alone_name_nothing_whatever_the_space() -> None:
    named = ["a", "!", " a", "\u00e9", "\u3000b", "\u200b"]
    spaces = [sign * n for sign in tables.BLANK for n in (1, 3)]
    assert tables.n_empty(pl.Series([*named, *spaces, "", None])) == len(spaces) + 2
    assert tables.n_empty(pl.Series(named)) == 0
