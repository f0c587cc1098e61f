"""Online features: one event at a time, with the same answers as the batch engine, in microseconds."""

from fraudctl.features.online.state import OnlineFeatures, OnlineRow

__all__ = ["OnlineFeatures", "OnlineRow"]
