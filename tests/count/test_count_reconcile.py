"""Counters beside the closed form: residual 0, and an error where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from drawn import architectures, sides
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.count import (
    COUNTERS,
    check_reconciled,
    ptflops_count,
    reconcile,
    reconciling,
    torch_count,
)
from dilnas.count.identities import bias_additions
from dilnas.errors import CounterError, InputError
from dilnas.model import build_model
from dilnas.ops import ENVIRONMENT_VARIABLE
from dilnas.records import Cost, CounterReport
from dilnas.space import SearchSpace
from dilnas.variants import variant

SMALL = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1, dilations=(1, 2, 3)),
        Stage(dim=24, num_heads=3, msda_depth=1, global_depth=1, dilations=(2,)),
    ),
    num_classes=7,
)


def check(reports: tuple[CounterReport, ...]) -> None:
    """No operator has a residual, and what the plain network lacks is explained too."""
    check_reconciled(reports)
    for report in reports:
        assert report.residual == 0
        assert [row for row in report.rows if row.residual] == []
        assert not [text for text in report.blind_to if "explains" in text]


@pytest.mark.parametrize(
    ("name", "fvcore", "ptflops", "torchs"),
    [
        ("tiny", 3_177_221_696, 3_172_869_928, 6_323_892_480),
        ("small", 4_613_399_936, 4_609_048_168, 9_182_136_960),
        ("base", 9_961_832_960, 9_957_368_296, 19_848_728_064),
    ],
)
def test_the_variants_leave_no_residual(name: str, fvcore: int, ptflops: int, torchs: int) -> None:
    """All three counters at 224 pixels, with the totals that they give on the official code."""
    reports = reconcile(variant(name))
    check(reports)
    assert [report.total for report in reports] == [fvcore, ptflops, torchs]
    assert [report.counter for report in reports] == ["fvcore", "ptflops (aten)", "torch"]
    assert all(report.version for report in reports)


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_architectures_of_the_default_space_leave_no_residual(count: int) -> None:
    """torch's counter on meta, image sizes from 32 x 64 to 384 x 224, mostly not square."""
    space = SearchSpace.load("dilateformer")
    seen = set()
    for i, code in enumerate(space.sample(count, seed=3)):
        architecture = space.decode([int(c) for c in code])
        height, width = 32 * (1 + i % 12), 32 * (1 + (i + 1) % 7)
        reports = reconcile(architecture, height, width, ("torch",), unguarded=False)
        check(reports)
        assert reports[0].total == 2 * cost(architecture, height, width).macs
        seen.add(architecture.key)
    assert len(seen) > 0.75 * count


def check_any(data: st.DataObject) -> None:
    architecture = data.draw(architectures(max_dim=24))
    height, width = data.draw(sides(architecture, most=2))
    check(reconcile(architecture, height, width))


@settings(max_examples=5)
@given(st.data())
def test_any_architecture_leaves_no_residual(data: st.DataObject) -> None:
    """Random stems, embeddings, windows, dilations, biases, heads and sizes, all counters."""
    check_any(data)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.data())
def test_many_architectures_leave_no_residual(data: st.DataObject) -> None:
    """The same, for longer."""
    check_any(data)


def test_each_convention_is_said_in_numbers() -> None:
    """fvcore is the closed form, ptflops has biases and no norms, torch two a multiply-add."""
    exact = cost(SMALL, 32, 16)
    biases = bias_additions(SMALL, 32, 16)
    assert min(biases.values()) > 0
    fvcore, ptflops, torchs = reconcile(SMALL, 32, 16)
    assert {row.operator: row.counted for row in fvcore.rows} == exact.by_operator
    assert ptflops.total == exact.macs + sum(biases.values())
    assert torchs.total == 2 * exact.macs
    assert {row.why for row in torchs.rows} == {
        "a multiply-add is two operations",
        "norms are not counted",
    }
    assert all(row.why for report in (ptflops, torchs) for row in report.rows if row.explained)


def test_heads_of_one_channel_hide_no_bias_from_ptflops() -> None:
    """Their output does not lie contiguous, where a linear layer is a product and a sum."""
    stage = Stage(dim=2, num_heads=2, global_depth=1)
    check(reconcile(Architecture(stages=(stage,), num_classes=3), 8, 12))


def test_ptflops_own_function_says_the_same() -> None:
    """``get_model_complexity_info`` on the aten backend, of the plain network."""
    from ptflops import get_model_complexity_info

    report = reconcile(SMALL, 32, 16, ("ptflops",))[0]
    macs, _ = get_model_complexity_info(
        build_model(SMALL), (3, 32, 16), as_strings=False, backend="aten",
        print_per_layer_stat=False, verbose=False,
    )  # fmt: skip
    assert macs == report.unguarded_total
    assert macs < report.total


def test_a_wrong_closed_form_has_a_residual_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One multiply-add too few in one row shows in every counter, and nowhere else."""

    def wrong(architecture: Architecture, height: int, width: int) -> Cost:
        exact = cost(architecture, height, width)
        row = exact.rows[-1]
        operators = {**row.operators, "linear": row.operators["linear"] - 1}
        return replace(exact, rows=(*exact.rows[:-1], replace(row, operators=operators)))

    monkeypatch.setattr(reconciling, "cost", wrong)
    for report, residual in zip(reconcile(SMALL, 32, 16), (1, 1, 2), strict=True):
        assert report.residual == residual
        assert [row.operator for row in report.rows if row.residual] == ["linear"]
        with pytest.raises(CounterError) as caught:
            check_reconciled([report])
        line = str(caught.value)
        row = next(row for row in report.rows if row.operator == "linear")
        assert report.counter in line
        assert report.version in line
        assert f"linear with an unexplained residual of +{residual}" in line
        assert f"got {row.counted:,}" in line
        assert f"expected {row.counted - residual:,}" in line
        assert "\n" not in line


def test_errors_that_cancel_out_are_no_residual_0() -> None:
    """One too many in one operator and one too few in another are two."""
    report = reconcile(SMALL, 32, 16, ("torch",), unguarded=False)[0]
    rows = list(report.rows)
    rows[0] = replace(rows[0], counted=rows[0].counted + 1)
    rows[1] = replace(rows[1], counted=rows[1].counted - 1)
    off = replace(report, rows=tuple(rows))
    assert off.total == report.total
    assert off.residual == 2
    with pytest.raises(CounterError, match="and 1 more"):
        check_reconciled([off])


def test_an_operator_that_the_closed_form_does_not_have_is_a_residual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A newer counter that counts something else is not silently believed."""
    run, device = reconciling.RUNNERS["torch"]
    monkeypatch.setitem(
        reconciling.RUNNERS, "torch", (lambda m, x: {**run(m, x), "gelu": 5}, device)
    )
    report = reconcile(SMALL, 32, 16, ("torch",), unguarded=False)[0]
    assert report.residual == 5
    with pytest.raises(CounterError, match="gelu"):
        check_reconciled([report])


@pytest.mark.parametrize("backend", ["portable", "oracle", "matmul"])
def test_a_forced_msda_backend_changes_no_row(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variable moves only what the plain network shows, and that is explained."""
    before = reconcile(SMALL, 32, 16)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, backend)
    forced = reconcile(SMALL, 32, 16)
    check(forced)
    assert [r.rows for r in forced] == [r.rows for r in before]
    assert os.environ[ENVIRONMENT_VARIABLE] == backend
    hidden = [any("dilated" in text for text in report.blind_to) for report in forced]
    assert hidden == [backend != "matmul"] * 3


def test_a_callers_inference_mode_changes_nothing() -> None:
    """Inside of it torch hands counters operators that they do not know, such as linear."""
    with torch.inference_mode():
        reports = reconcile(SMALL, 16, 24)
    check(reports)
    assert reports == reconcile(SMALL, 16, 24)


def test_counting_is_silent_and_draws_no_random_number(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nothing is printed, and torch's random state is that of before."""
    state = torch.get_rng_state()
    reconcile(SMALL, 16, 24)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(state, torch.get_rng_state())


def test_the_plain_network_need_not_be_run() -> None:
    """Without it there is no total of it and no sentence."""
    for report in reconcile(SMALL, 16, 24, unguarded=False):
        assert report.unguarded_total is None
        assert report.blind_to == ()


def test_one_counter_alone_says_the_same() -> None:
    """By ATen operator, in each counter's unit; biases are within their layers."""
    exact, biases = cost(SMALL, 16, 24), bias_additions(SMALL, 16, 24)
    assert torch_count(SMALL, 16, 24) == {
        "convolution": 2 * exact.by_operator["conv"],
        "addmm": 2 * exact.by_operator["linear"],
        "bmm": 2 * exact.by_operator["matmul"],
    }
    assert ptflops_count(SMALL, 16, 24) == {
        "convolution": exact.by_operator["conv"] + biases["conv"],
        "addmm": exact.by_operator["linear"] + biases["linear"],
        "bmm": exact.by_operator["matmul"],
    }


def test_an_unknown_counter_and_a_forbidden_size_are_refused() -> None:
    """One line each, before anything is built."""
    assert COUNTERS == ("fvcore", "ptflops", "torch")
    with pytest.raises(InputError, match=r"unknown counter \(expected fvcore \| ptflops \| torch"):
        reconcile(SMALL, 16, 24, ("thop",))
    for count in (reconcile, torch_count, ptflops_count):
        with pytest.raises(InputError, match="stride"):
            count(SMALL, 16, 23)


@pytest.mark.parametrize(("name", "kind"), [("fvcore", "ImportError"), ("ptflops", "RuntimeError")])
def test_a_counter_that_cannot_be_imported_is_one_line(name: str, kind: str) -> None:
    """Missing, or broken as by a torchvision that does not fit torch."""
    script = f"""
import sys
class Broken:
    def find_spec(self, found, path=None, target=None):
        if found.partition(".")[0] == {name!r}:
            raise {kind}("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
from dilnas import variant
from dilnas.count import reconcile
from dilnas.errors import DependencyError
try:
    reconcile(variant("tiny"), 32, 64, ({name!r},))
except DependencyError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith(f"{name}: cannot be imported: operator torchvision::nms")
    assert len(done.stdout.splitlines()) == 1


def test_ptflops_counts_beside_a_torchvision_that_does_not_fit_torch() -> None:
    """As pip installs it for timm beside a CPU-only torch: nothing here needs it."""
    script = """
import sys
class Broken:
    def find_spec(self, found, path=None, target=None):
        if found.partition(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
from dilnas import variant
from dilnas.count import reconcile
(report,) = reconcile(variant("tiny"), 32, 64, ("ptflops",))
print(report.residual, "torchvision" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "0 False\n", done.stderr[-2000:]
