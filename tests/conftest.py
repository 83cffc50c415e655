"""What the tests share: this folder on the path (``import drawn``), hypothesis kept quiet.

Beside it Triton's interpreter, for tests that ask for it by the fixture ``interpreter``.
"""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # pytest -n: a core each, or their threads wait spinning
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers make way for everything else (niceness 15): beside two other tests, the thirty kills
# took 650 s instead of 230.
os.environ.setdefault("RAY_worker_niceness", "0")

import interpreter as tritons
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dilnas",
    deadline=None,  # a shared machine is no stopwatch
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dilnas")

tritons.load_triton()

LONGEST = ("test_tutorial.py", "test_search_random_kills.py")


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the test, Triton's kernels run in its interpreter, on the CPU."""
    if why := tritons.unavailable():
        pytest.skip(why)
    tritons.load_kernels()
    monkeypatch.setenv(tritons.VARIABLE, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: with pytest -n, one process would do them alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
