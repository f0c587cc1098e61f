"""Online features: one event at a time, with the same answers as the batch engine, in microseconds."""

from fraudctl.features.online.opening import from_bytes, from_history, from_parts, to_bytes, to_parts
from fraudctl.features.online.state import OnlineFeatures, OnlineRow

__all__ = ["OnlineFeatures", "OnlineRow", "from_bytes", "from_history", "from_parts", "to_bytes", "to_parts"]
