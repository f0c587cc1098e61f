"""The families of features, one file each; `FAMILIES` is the one list of them, in the order of the model."""

from fraudctl.features.meaning.families.decay import DECAY
from fraudctl.features.meaning.families.geo import GEO
from fraudctl.features.meaning.families.habits import HABITS
from fraudctl.features.meaning.families.hours import HOURS
from fraudctl.features.meaning.families.labels import LABELS
from fraudctl.features.meaning.families.links import LINKS
from fraudctl.features.meaning.families.lookups import LOOKUPS
from fraudctl.features.meaning.families.pairs import PAIRS
from fraudctl.features.meaning.families.recency import RECENCY
from fraudctl.features.meaning.families.rows import COLUMN, COLUMNS, RAW
from fraudctl.features.meaning.families.spacing import SPACING
from fraudctl.features.meaning.families.trends import TRENDS
from fraudctl.features.meaning.families.windows import WINDOWS

FAMILIES = (RAW, WINDOWS, LABELS, RECENCY, PAIRS, TRENDS, HOURS, LINKS, LOOKUPS, HABITS, SPACING, DECAY, GEO, COLUMNS)
HEADINGS = {COLUMN if family is COLUMNS else family.key: family.heading for family in FAMILIES}
"""`Feature.family` -> what reports call the features of the family together."""
