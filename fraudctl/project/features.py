"""``[features]``: which histories, outcomes, recencies and row-level columns the model sees."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from fraudctl.data.own import DataColumn
from fraudctl.project.types import Aggregate, PositiveDuration, Section


def _as_tuple(value: object) -> object:
    """Take one item for a list of one; what is neither is shown to the item's own type, which says what it expects."""
    return value if isinstance(value, (list, tuple)) else (value,)


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Windows = Annotated[tuple[PositiveDuration, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Aggregates = Annotated[tuple[Aggregate, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class WindowSection(Section):
    """Aggregates over an entity's earlier events, event_time in ``(t - window, t)``."""

    by: Names
    """Entities whose history is looked at; each gives its own features."""
    windows: Windows
    """How far back."""
    aggregates: Aggregates
    """count, sum(x), mean(x), std(x), min(x), max(x), median(x), mad(x), nunique(x)."""
    include_current: bool = False
    """Whether the event itself counts (its same-time twins never do)."""
    where: str | None = None
    """Condition in Polars SQL over one row: only the earlier events that meet it count. Needs a `name`."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z_0-9]*$")
    """Word put into the features' names after the entity: name = "declined" gives card_declined_count_1h."""
    source: str | None = None
    """Table of [sources] whose rows count instead of earlier events; gives card_logins_count_1h."""

    @model_validator(mode="after")
    def _a_source_has_no_current(self) -> WindowSection:
        if self.source is not None and self.include_current:
            msg = "include_current is for windows over the events themselves, not for those over a source"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _where_has_a_name(self) -> WindowSection:
        if self.where is not None and self.name is None:
            msg = 'a window with `where` needs a `name` for its features, such as name = "declined"'
            raise ValueError(msg)
        return self


class LabelsSection(Section):
    """Aggregates over an entity's labels that had arrived, label_time in ``(t - window, t]``."""

    by: Names
    """Entities whose known outcomes are looked at."""
    windows: Windows
    """How far back the label had arrived."""
    aggregates: Aggregates = (Aggregate("known_count"), Aggregate("fraud_count"), Aggregate("fraud_rate"))
    """known_count, fraud_count, fraud_rate, smoothed_rate, seconds_since_first_fraud, seconds_since_last_fraud."""
    prior_strength: float = Field(default=10.0, gt=0.0)
    """smoothed_rate counts so many outcomes at the overall fraud rate known at t beside the entity's own."""


class RecencySection(Section):
    """How long ago things happened to an entity, in seconds."""

    by: Names
    """Entities whose past is looked at."""
    aggregates: Aggregates = (Aggregate("seconds_since_last"),)
    """seconds_since_last, seconds_since_first, seconds_since_last_known_fraud, seconds_since_fraud_run_began."""
    run_gap: PositiveDuration = PositiveDuration(14 * 86_400, "14d")
    """Known frauds of an entity that lie no further apart than this are one run."""


class PairsSection(Section):
    """Whether two entities have met before: this card at this merchant."""

    of: tuple[str, str]
    """The two entities."""
    aggregates: Aggregates = (Aggregate("first_time"),)
    """first_time, count, seconds_since_last."""


class TrendSection(Section):
    """A short window against a long one of the same entity."""

    by: Names
    """Entities whose history is looked at."""
    short: PositiveDuration
    """The window above the line."""
    long: PositiveDuration
    """The window below the line."""
    aggregates: Aggregates = (Aggregate("count"),)
    """As for windows; count and sum(x) are compared per unit of time, all others as they are."""

    @model_validator(mode="after")
    def _short_is_shorter(self) -> TrendSection:
        if self.short.seconds >= self.long.seconds:
            msg = f"short = {str(self.short)!r} must be shorter than long = {str(self.long)!r}"
            raise ValueError(msg)
        return self


class HoursSection(Section):
    """The hour of the day against the entity's usual hour, on the circle of 24 hours of the project's zone."""

    by: Names
    """Entities whose history is looked at."""
    windows: Windows
    """How far back."""
    aggregates: Aggregates = (Aggregate("hour_distance"),)
    """hour_distance (hours from the circular mean, 0 to 12), hour_concentration (0 evenly spread, 1 one hour)."""


class HabitsSection(Section):
    """The event against latest and usual values of an entity's earlier events, event_time in ``(t - window, t)``."""

    by: Names
    """Entities whose history is looked at; each gives its own features."""
    windows: Windows = (PositiveDuration(90 * 86_400, "90d"),)
    """How far back."""
    aggregates: Aggregates
    """last(x), previous(x), changed(x), same(x), seconds_same(x), share(x), rank(x)."""


class SpacingSection(Section):
    """Gaps between the event and the latest earlier events of an entity, in seconds."""

    by: Names
    """Entities whose history is looked at; each gives its own features."""
    last: int = Field(default=5, ge=1, le=64)
    """How many gaps: those before the event and before each of the latest earlier events."""
    windows: Windows = (PositiveDuration(30 * 86_400, "30d"),)
    """How far back events are looked at."""
    aggregates: Aggregates = (Aggregate("median_gap"), Aggregate("min_gap"), Aggregate("equal_gaps"))
    """median_gap, min_gap (seconds), equal_gaps (the most gaps that are equal in whole seconds)."""


class DecaySection(Section):
    """Sums over an entity's earlier events, each of which counts half as much for every half-life that it is older."""

    by: Names
    """Entities whose history is looked at; each gives its own features."""
    half_lives: Windows
    """In what time the weight of an event halves; it counts for 16 to 32 half-lives."""
    aggregates: Aggregates
    """count, sum(x), mean(x)."""


class GeoSection(Section):
    """Distances on the Earth, in km, and the speed that they ask for, in km/h."""

    at: tuple[DataColumn, DataColumn]
    """Latitude and longitude of the event, in degrees: data columns or features, such as those of a look-up."""
    to: tuple[DataColumn, DataColumn] | None = None
    """Latitude and longitude of another point of the same event, for `distance`."""
    by: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Entities whose earlier places are looked at; `distance` needs none."""
    windows: Windows = (PositiveDuration(90 * 86_400, "90d"),)
    """How far back."""
    aggregates: Aggregates
    """distance_from_last, speed_from_last, distance_from_usual (spherical mean); distance (between `at` and `to`)."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z_0-9]*$")
    """Word put into the features' names: name = "shop" gives card_shop_distance_from_last_90d."""

    @model_validator(mode="after")
    def _each_aggregate_has_what_it_needs(self) -> GeoSection:
        kinds = {item.kind for item in self.aggregates}
        if "distance" in kinds and self.to is None:
            msg = 'distance needs another point of the event, such as to = ["shop_lat", "shop_lon"]'
            raise ValueError(msg)
        if kinds - {"distance"} and not self.by:
            msg = f'{min(kinds - {"distance"})} needs entities, such as by = "card"'
            raise ValueError(msg)
        return self


class LinksSection(Section):
    """Entities joined by what they share: cards that used one device, and the devices of those cards, and so on.

    Only for hard links. What thousands share by chance (an IP address, an e-mail domain) joins everyone to one: give it
    label windows of its own instead.
    """

    of: tuple[str, str]
    """The entity that is counted, and the one that is shared: ["card", "device"]."""
    aggregates: Aggregates = (
        Aggregate("component_size"),
        Aggregate("component_age_seconds"),
        Aggregate("component_fraud_rate"),
        Aggregate("degree"),
    )
    """component_size, component_age_seconds, component_fraud_rate (without the event's own entity), degree,
    neighbours, neighbour_frauds (other cards that used this card's devices, and their known frauds)."""
    hub: int = Field(default=50, ge=2)
    """A value that has been seen with more partners than this joins no further ones."""


class LookupSection(Section):
    """Attributes of an entity from another table, as they were known just before the event."""

    source: str
    """Table of [sources]; its event_time says from when on a row is valid."""
    by: Names
    """Entities whose attributes are looked up."""
    columns: tuple[str, ...]
    """Columns of the source; gives customer_profiles_segment. Text becomes a category, and a date or a time its age:
    customer_profiles_seconds_since_opened_at. hour(opened_at) is a time's local hour, same_second(opened_at) whether it
    lies in the second of the event."""
    max_age: PositiveDuration | None = None
    """Rows that became valid longer ago are not used. Default: any age."""


class FeaturesSection(Section):
    """Everything that enters the model, and the words for it."""

    window: tuple[WindowSection, ...] = ()
    """Histories of entities."""
    labels: tuple[LabelsSection, ...] = ()
    """Known outcomes of entities."""
    recency: tuple[RecencySection, ...] = ()
    """Times since earlier events of entities."""
    pairs: tuple[PairsSection, ...] = ()
    """First meetings of two entities."""
    trend: tuple[TrendSection, ...] = ()
    """Short windows against long ones."""
    hours: tuple[HoursSection, ...] = ()
    """Hours of the day against an entity's usual ones."""
    habits: tuple[HabitsSection, ...] = ()
    """Latest and usual values of entities."""
    spacing: tuple[SpacingSection, ...] = ()
    """Gaps between the latest events of entities."""
    decay: tuple[DecaySection, ...] = ()
    """Fading counts, sums and means."""
    geo: tuple[GeoSection, ...] = ()
    """Distances and speeds."""
    links: tuple[LinksSection, ...] = ()
    """Components of entities that share something."""
    lookup: tuple[LookupSection, ...] = ()
    """Attributes from other tables, as of the event."""
    raw: tuple[DataColumn, ...] = ()
    """Columns, or made ids of [entities], that enter the model as they are; ids of entities enter it only from here."""
    categorical: tuple[DataColumn, ...] = ()
    """Those of `raw` and `columns` that are categories."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Row-level columns in Polars SQL over one row: name -> expression. May use the features above and each other."""
    hidden: tuple[DataColumn, ...] = ()
    """Features that others are built from, and that do not enter the model themselves."""
    words: dict[DataColumn, str] = Field(default_factory=dict)
    """What a feature means, in the words that reports and reasons use: feature -> words."""
    protected: tuple[DataColumn, ...] = ()
    """Features that are never given as a reason."""
    signals: tuple[DataColumn, ...] = ()
    """Features that somebody could change: where `explain --event` looks for what would have flipped a decision. None
    named: all that are not protected."""
