"""fraudctl: from raw transactions to a gated fraud model."""

__version__ = "0.1.0"
