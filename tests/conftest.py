"""What the tests share: this folder on the path (``import drawn``), hypothesis kept quiet."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dilnas",
    deadline=None,  # a shared machine is no stopwatch
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dilnas")
