"""The order of what a CUDA measurement does, on a torch.cuda that only writes it down.

Whether real events, streams and NVML do what is asked of them is for ``tests/gpu``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dilnas.errors import DeviceError
from dilnas.measure.compiled import captured
from dilnas.measure.device import Run, open_device
from dilnas.measure.nvml import Gpu
from dilnas.measure.on_cuda import CudaDevice


class WrittenDown:
    """Stands for ``torch.cuda``: every call is a word in ``said``; time is the number of words."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        said, made = self.said, [0]

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                assert enable_timing
                made[0] += 1
                self.name = f"E{made[0]}"
                said.append(f"make {self.name}")

            def record(self, stream: object = None) -> None:
                said.append(f"record {self.name} on {stream or 'current'}")

            def elapsed_time(self, end: Any) -> float:
                said.append(f"elapsed {self.name} {end.name}")
                return 12.5

        @contextmanager
        def device(which: object) -> Iterator[None]:
            said.append(f"enter {which}")
            yield
            said.append("leave")

        for name, stand_in in {
            "Event": Event,
            "device": device,
            "synchronize": lambda *_: said.append("sync"),
            "current_stream": lambda: "stream",
            "current_device": lambda: 1,
            "get_device_properties": lambda _: SimpleNamespace(uuid="ffc79498"),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(
            Gpu, "of", classmethod(lambda cls, uuid: cls(absent=f"no NVML ({uuid})"))
        )

    def clock(self) -> float:
        self.said.append("clock")
        return float(len(self.said))


def test_only_the_call_lies_between_two_events_of_an_idle_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Synchronise, clock, event, call, event, clock, synchronise, clock; the rest is outside."""
    cuda = WrittenDown(monkeypatch)
    device = CudaDevice("cuda:0", cuda.clock)
    cuda.said.clear()
    run = device.run(lambda: cuda.said.append("call"))
    assert cuda.said == [
        "enter cuda:0", "sync", "clock", "record E1 on stream", "call", "record E2 on stream",
        "clock", "sync", "clock", "elapsed E1 E2", "leave",
    ]  # fmt: skip
    assert run == Run(0.0125, 6.0, 4.0, 1)


def test_calls_in_a_row_are_synchronised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many calls as asked for between the two events; no new events."""
    cuda = WrittenDown(monkeypatch)
    device = CudaDevice("cuda:0", cuda.clock)
    cuda.said.clear()
    run = device.run(lambda: cuda.said.append("call"), 3)
    assert run.calls == 3
    inside = cuda.said[cuda.said.index("record E1 on stream") :]
    assert inside[:5] == ["record E1 on stream", "call", "call", "call", "record E2 on stream"]
    assert not any(word.startswith("make") for word in cuda.said)


def test_the_events_exist_and_the_context_is_made_before_the_first_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Making them takes time, and NVML lists this process only once it has a context."""
    cuda = WrittenDown(monkeypatch)
    CudaDevice("cuda:0", cuda.clock)
    assert cuda.said[:1] == ["enter cuda:0"]
    assert cuda.said[-2:] == ["sync", "leave"]
    assert {"make E1", "make E2"} <= set(cuda.said)


def test_cuda_without_a_number_is_the_current_device_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller may make another one current between two runs; the name stays as asked for."""
    cuda = WrittenDown(monkeypatch)
    device = CudaDevice("cuda", cuda.clock)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    cuda.said.clear()
    device.run(lambda: None)
    assert cuda.said[0] == "enter cuda:1"
    assert device.name == "cuda"


def test_without_nvml_looks_say_why_and_there_is_no_energy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run itself needs no NVML."""
    device = CudaDevice("cuda:0", WrittenDown(monkeypatch).clock)
    looks = [device.look(), device.look()]
    assert device.energy_j() is None
    assert device.doubts(looks) == [
        "clocks, throttling and temperature unknown: no NVML (ffc79498)"
    ]
    assert device.evidence(looks)["nvml"] == "no NVML (ffc79498)"
    assert device.evidence(looks)["l2_cache"] == "warm, not flushed"


def test_a_gpu_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA tells it of a GPU that somebody else has filled."""
    WrittenDown(monkeypatch)

    def full(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be")

    monkeypatch.setattr(torch.cuda, "synchronize", full)
    with pytest.raises(DeviceError) as caught:
        open_device("cuda:0")
    assert str(caught.value) == (
        "--device: the device cannot be used: CUDA error: out of memory (got cuda:0)"
    )


def test_an_error_of_the_call_leaves_the_device_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the caller, and the next run works."""
    device = CudaDevice("cuda:0", WrittenDown(monkeypatch).clock)

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        device.run(fails)
    assert device.run(lambda: None).device_s == 0.0125


def test_a_captured_call_keeps_its_weights_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph reads addresses: nobody else may be given that memory while it can be replayed."""

    class Stream:
        def __init__(self, *_: object) -> None: ...

        def wait_stream(self, other: object) -> None: ...

    replays: list[int] = []
    for name, stand_in in {
        "Stream": Stream, "current_stream": Stream, "device": lambda _: nullcontext(),
        "stream": lambda _: nullcontext(), "graph": lambda *_, **__: nullcontext(),
        "synchronize": lambda *_: None,
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: replays.append(1)),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    model = torch.nn.Linear(1, 1)
    weights = weakref.ref(model.weight)
    replay, _ = captured(lambda model=model: model(torch.ones(1)), torch.device("cuda", 0))
    del model
    assert weights() is not None
    assert replay().shape == (1,)
    assert replays == [1]
    del replay
    assert weights() is None
