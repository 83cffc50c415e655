"""dilnas (public API is bound by the lead once the rooms are in)."""

__version__ = "0.1.0"
