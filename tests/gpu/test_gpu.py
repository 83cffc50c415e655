"""The checks of ``checks`` and ``checks_measuring`` under pytest, on a machine with a GPU."""

from __future__ import annotations

import pytest
import torch
from checks import CannotTell
from checks_measuring import every_check

CHECKS = every_check()
ON_CPU = (
    "check_every_msda_backend_agrees_with_the_cpus_oracle",
    "check_the_projection_of_q_k_v_is_the_convolution",
    "check_an_export_made_on_the_gpu_holds_plain_operators",
    "check_preparing_leaves_the_random_states_alone",
    "check_a_recorded_session_replays_to_the_same_measurement",
)
"""Quick ones that ask nothing of CUDA: run everywhere, so that the checks themselves are tested."""


def name_of(check) -> str:
    return check.__name__.removeprefix("check_")


def made(check, device: str) -> None:
    """Run a check; what cannot be told here is a skip with the reason."""
    try:
        check(device)
    except CannotTell as reason:
        pytest.skip(str(reason))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_on_the_gpu(check):
    """Every check holds on CUDA."""
    made(check, "cuda")


@pytest.mark.parametrize("check", [c for c in CHECKS if c.__name__ in ON_CPU], ids=name_of)
def test_the_check_itself_holds_on_the_cpu(check):
    """A check that cannot pass anywhere would say nothing about a GPU."""
    made(check, "cpu")


def test_every_check_has_a_sentence_and_a_name_of_its_own():
    """They are listed by name in a session's summary."""
    names = [check.__name__ for check in CHECKS]
    assert len(set(names)) == len(names) >= 15
    assert all(check.__doc__ for check in CHECKS)
    assert set(ON_CPU) <= set(names)
