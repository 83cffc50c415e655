"""What a measurement on a GPU must obey, as plain functions like those in ``checks``."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from checks import (
    CHECKS,
    LAST,
    QUICK,
    SMALL,
    CannotTell,
    Check,
    cost_of,
    need_capability,
    need_cuda,
    workload,
)
from checks_msda import MSDA_CHECKS

from dilnas.data import DataSplits, ImageSet
from dilnas.measure import measure_latency, profile
from dilnas.measure.device import open_device
from dilnas.measure.machine import settings
from dilnas.measure.nvml import GpuReading
from dilnas.measure.replay import Recorder, Recording, ReplayDevice
from dilnas.measure.workload import prepare
from dilnas.model import build_model
from dilnas.records import Profile
from dilnas.train import Recipe, Trainer, proxy, train_to_rung
from dilnas.variants import variant

__all__ = ["QUICK_CHECKS", "every_check"]

CLOCKS_AGREE = 1.001
TICK_S = 5e-6
"""The GPU's and the host's clock differ by a little in rate, and an event's time has a tick."""


def timed(name: str, device: str, **options: Any) -> Profile:
    """Latency alone: no memory, no energy."""
    return profile(name, device=device, memory=False, energy=False, protocol=QUICK, **options)


def check_device_time_and_enqueue_time_fit_into_wall_time(device: str) -> None:
    """For every single run: events lie within the wall time, and so does handing over."""
    need_cuda(device)
    what = workload(device)
    with settings(what):
        call = prepare(SMALL, what, cost_of(SMALL, what)).call
        recorder = Recorder(open_device(device))
        found = measure_latency(call, what, QUICK, device=recorder)
    assert len(recorder.recording.runs) == found.warmup + len(found.samples)
    for run in recorder.recording.runs:
        assert run.enqueue_s is not None
        assert 0 < run.device_s <= run.wall_s * CLOCKS_AGREE + TICK_S, run
        assert 0 < run.enqueue_s <= run.wall_s, run
    assert found.extra["launch_share"] > 0


def check_every_dtype_is_measured_by_events(device: str) -> None:
    """fp32, tf32, fp16 and bf16 of Tiny: samples, an interval around the median, memory."""
    need_capability(device, 8)
    for dtype in ("fp32", "tf32", "fp16", "bf16"):
        found = timed("tiny", device, batch_size=2, dtype=dtype)
        measured = found.measurement
        assert measured is not None, f"{dtype}: {found.failure}"
        extra = measured.extra
        assert extra["median_low_s"] <= measured.median <= extra["median_high_s"]
        assert found.environment is not None
        assert found.environment.facts["compute_capability"]


def check_more_work_takes_longer(device: str) -> None:
    """Base on a batch of 32 against Tiny on one: seventy times the multiply-adds."""
    need_cuda(device)
    large = timed("base", device, batch_size=32).measurement
    small = timed("tiny", device, batch_size=1).measurement
    assert large is not None
    assert small is not None
    assert large.median > 1.5 * small.median


def check_a_recorded_session_replays_to_the_same_measurement(device: str) -> None:
    """Samples, statistics, evidence and doubts: the rules do not know whether a device is real."""
    what = workload(device)
    with settings(what):
        call = prepare(SMALL, what, cost_of(SMALL, what)).call
        recorder = Recorder(open_device(device))
        real = measure_latency(call, what, QUICK, device=recorder)
    with tempfile.TemporaryDirectory() as folder:
        recorder.recording.save(Path(folder) / "one.json")
        loaded = Recording.load(Path(folder) / "one.json")
    again = measure_latency(call, what, QUICK, device=ReplayDevice(loaded))
    assert again == real


def check_a_batch_that_does_not_fit_is_a_row(device: str) -> None:
    """The sweep goes on after it. The memory is capped, so that a huge GPU needs no huge batch."""
    need_cuda(device)
    from dilnas.measure.sweeping import sweep

    tiny = variant("tiny")
    total = torch.cuda.get_device_properties(device).total_memory
    index = torch.device(device).index
    index = torch.cuda.current_device() if index is None else index
    torch.cuda.empty_cache()
    cap = torch.cuda.memory_reserved(device) + (1 << 30)
    what = workload(device, height=224, width=224)
    each = cost_of(tiny, what).memory_bytes(1) - cost_of(tiny, what).memory_bytes(0)
    too_many = 2 * cap // each
    torch.cuda.set_per_process_memory_fraction(min(cap / total, 1.0), index)
    try:
        rows = sweep("tiny", device=device, batch_sizes=(1, too_many, 2), protocol=QUICK)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
    first, second, third = rows
    assert first.measurement is not None, first.failure
    assert second.measurement is None
    assert "does not fit" in second.failure, second.failure
    assert third.measurement is not None, third.failure


def check_the_parts_of_the_memory_add_up(device: str) -> None:
    """Weights are exact; tensors ≤ allocated ≤ reserved ≤ what NVML counts for the process."""
    from dilnas.measure.memory import measure_memory

    for mode in ("inference", "train"):
        what = workload(device, mode=mode, batch_size=8)
        exact = cost_of(SMALL, what)
        found = measure_memory(SMALL, what, exact, timeout_s=60)
        buffers = sum(b.numel() * b.element_size() for b in build_model(SMALL).buffers())
        assert found.weights_bytes == exact.weight_bytes() + buffers, mode
        assert found.input_bytes == 8 * 3 * what.height * what.width * 4, mode
        assert found.activation_peak_bytes is not None
        tensors = found.weights_bytes + found.input_bytes + found.activation_peak_bytes
        if found.allocated_peak_bytes is not None:
            assert tensors <= found.allocated_peak_bytes, (mode, found)
        if device.startswith("cuda"):
            assert found.allocated_peak_bytes is not None
            assert found.reserved_peak_bytes is not None
            assert found.allocated_peak_bytes <= found.reserved_peak_bytes, (mode, found)
            if found.device_process_bytes is not None:
                assert found.reserved_peak_bytes <= found.device_process_bytes, (mode, found)


def check_nvml_tells_of_this_gpu(device: str) -> None:
    """Clock, temperature, power and energy are plausible, by the same GPU that torch uses."""
    need_cuda(device)
    look = open_device(device).look()
    assert isinstance(look, GpuReading)
    if look.absent:
        raise CannotTell(look.absent)
    assert look.sm_clock_mhz is None or 100 <= look.sm_clock_mhz <= 5000
    assert look.temperature_c is None or 5 <= look.temperature_c <= 110
    assert look.power_w is None or 1 <= look.power_w <= 2000
    assert look.energy_j is None or look.energy_j > 0
    answered = (look.sm_clock_mhz, look.temperature_c, look.power_w, look.energy_j)
    assert any(value is not None for value in answered), look.missing


def check_energy_is_counted_under_load(device: str) -> None:
    """Joules rise, windows are as long as asked for, watts lie within what a GPU can draw."""
    need_cuda(device)
    from dilnas.measure.energy import measure_energy

    a = torch.randn(2048, 2048, device=device)
    found = measure_energy(lambda: a @ a, 1, open_device(device), windows=2, window_s=1.0)
    if isinstance(found, str):
        raise CannotTell(found)
    assert len(found.window_joules) == len(found.window_s) == len(found.window_images) == 2
    assert min(found.window_joules) > 0
    assert min(found.window_images) > 10
    assert all(1.0 <= length < 3.0 for length in found.window_s), found.window_s
    assert 5 <= found.mean_watts <= 2000
    assert found.joules_per_image > 0
    if found.joules_per_image_above_idle is not None:
        assert found.joules_per_image_above_idle < found.joules_per_image


def check_the_breakdown_sums_to_its_total(device: str) -> None:
    """Parts and operators each sum to it; their multiply-adds are the closed form's."""
    from dilnas.measure.breakdown import measure_breakdown

    what = workload(device)
    exact = cost_of(SMALL, what)
    with settings(what):
        call = prepare(SMALL, what, exact).call
        plain_s = measure_latency(call, what, QUICK).median
    found = measure_breakdown(SMALL, what, exact, plain_s=plain_s)
    for rows in (found.parts, found.operators):
        assert math.isclose(sum(row.time_s for row in rows), found.total_s, rel_tol=1e-6)
        assert sum(row.macs for row in rows) == exact.macs * what.batch_size
        assert all(row.time_s >= 0 for row in rows)
    assert found.bottleneck
    assert found.rates.macs_per_s > 1e8
    assert found.rates.bytes_per_s > 1e8


def check_base_is_slower_than_tiny_and_tiny_is_not_another_than_itself(device: str) -> None:
    """The verdicts that anyone would give."""
    need_cuda(device)
    from dilnas.measure.comparing import compare

    different = compare(["tiny", "base"], device=device, batch_size=16, time_limit=5).verdicts[0]
    assert (different.name, different.verdict) == ("base", "SLOWER"), different
    same = compare(["tiny", "tiny"], device=device, batch_size=16, time_limit=5).verdicts[0]
    assert same.verdict in ("SAME", "AMBIGUOUS"), same


def splits_of(classes: int, images: int, size: int) -> DataSplits:
    """Noise whose mean brightness tells the class: learnt within a few steps."""
    generator = torch.Generator().manual_seed(11)
    labels = torch.arange(images) % classes
    noise = torch.randint(0, 64, (images, 1, size, size), generator=generator)
    pixels = (noise + (labels * (190 // classes)).view(-1, 1, 1, 1)).to(torch.uint8)
    part = ImageSet(pixels, labels)
    return DataSplits(
        name="noise", num_classes=classes, in_chans=1, image_size=size, fingerprint="0" * 16,
        train=part, val=part, test=part, class_names=tuple(map(str, range(classes))),
    )  # fmt: skip


def check_the_trainer_steps_in_half_precision(device: str) -> None:
    """The standard proxy's recipe: bf16 and fp16 autocast, scaler, clipping, weight average."""
    splits = splits_of(4, 64, 32)
    for amp in ("auto", "fp16", "bf16") if device.startswith("cuda") else ("bf16",):
        recipe = replace(proxy("standard").recipe, batch_size=16, warmup_images=16, amp=amp)
        assert isinstance(recipe, Recipe)
        model = build_model(SMALL.replace(num_classes=4, in_chans=1), drop_path_rate=0.1)
        start = [parameter.detach().clone() for parameter in model.parameters()]
        trainer = Trainer(
            model, recipe, splits.train, splits.mean_std,
            num_classes=4, seed=1, device=torch.device(device),
        )  # fmt: skip
        fit = trainer.fit(160)  # ten steps: the scaler may skip the first
        assert fit.images == 160
        assert not fit.diverged, amp
        assert math.isfinite(fit.train_loss)
        moved = [
            not torch.equal(a, b.detach().cpu())
            for a, b in zip(start, trainer.model.parameters(), strict=True)
        ]
        assert sum(moved) > len(moved) // 2, f"{amp}: {sum(moved)} of {len(moved)} tensors moved"
        accuracy, loss = trainer.evaluate(splits.val)
        assert 0 <= accuracy <= 1
        assert math.isfinite(loss)


def check_a_candidate_is_trained_from_rung_to_rung(device: str) -> None:
    """Checkpoint written, loaded and gone on from; well above chance on what is easy."""
    splits = splits_of(4, 128, 32)
    short = replace(proxy("smoke"), images=(320, 640), data_share=1.0, width=1.0)
    with tempfile.TemporaryDirectory() as folder:
        for rung in (0, 1):
            found = train_to_rung(
                SMALL, short, rung, splits, seed=1, directory=folder, device=device
            )
        assert found.rung == 1
        assert found.images_seen >= 640
        assert not found.diverged
        assert found.val_accuracy > 0.5, found


MEASURING: tuple[Check, ...] = (
    check_device_time_and_enqueue_time_fit_into_wall_time,
    check_nvml_tells_of_this_gpu,
    check_every_dtype_is_measured_by_events,
    check_more_work_takes_longer,
    check_a_recorded_session_replays_to_the_same_measurement,
    check_a_batch_that_does_not_fit_is_a_row,
    check_the_trainer_steps_in_half_precision,
    check_a_candidate_is_trained_from_rung_to_rung,
    check_energy_is_counted_under_load,
    check_the_breakdown_sums_to_its_total,
    check_the_parts_of_the_memory_add_up,
    check_base_is_slower_than_tiny_and_tiny_is_not_another_than_itself,
)


QUICK_CHECKS: tuple[Check, ...] = (*CHECKS, *MSDA_CHECKS, *MEASURING)
"""All but those that compile, quick and telling ones first."""


def every_check() -> tuple[Check, ...]:
    """All checks, the compiler last."""
    return (*QUICK_CHECKS, *LAST)
