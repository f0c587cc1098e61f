"""Settings of all tests: property tests draw the same examples in CI every time, and never fail for being slow.

Tables that tests build come in chunks of 64 rows, for those of more than 16,384 events do so too.
"""

from __future__ import annotations

import os

from hypothesis import settings

from fraudctl.features.batch import groups

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
groups._STRIP_BITS = 6
