"""How fast is MSDA? dilnas' backends beside unfold, gather + SDPA, FlexAttention and NATTEN.

    python benchmarks/msda.py [--device cuda] [--only operator block …] [--out FILE.json]
    python benchmarks/msda.py --compile --only model      compiled models beside eager ones too

Levels: the operator on the paper's four MSDA maps, one block of each, whole models, and, with
--compile, compiled models; "small" are the maps of the search's proxies. Contenders take turns in
random order, round by round, so that a noisy machine hurts all alike; a ratio is taken within a
round, and shown are its median and, in brackets, its quartiles.

    unfold      the official formulation in the map's type; everything is compared with it
    sdpa        keys gathered by slices, then scaled dot-product attention
    flex        FlexAttention, compiled, over zero-padded keys; no backward on a CPU
    natten      where it is installed: other borders, same arithmetic
    portable, triton    dilnas' backends, as far as the device has them
    matmul      dilnas' form of unfold, on request: half types are computed in float32
    free        a core that returns q: the ceiling of any core within a block or model

"of copy" is the time that the bytes which a fused operator must move take at this device's own
copy rate (4 maps forward, 8 more backward), over the time it took. "MiB" is what a call holds over
its start. On a CPU the time of "unfold" depends on the allocator: with glibc's, a raised
MALLOC_MMAP_THRESHOLD_ saves page faults, so it is printed with the machine. Where other processes
use the cores too, set OMP_WAIT_POLICY=passive: spinning threads then cost all contenders ten times
their time. The last line is JSON.

Needs torch, numpy and Python alone; dilnas need not be installed.
"""

from __future__ import annotations

import time

BEGIN = time.perf_counter()  # importing torch is part of the time limit

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "benchmarks", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import torch  # noqa: E402
from msda_cases import DILATIONS, LEVELS, OPERATOR, TYPES, Setting, cases  # noqa: E402
from msda_cores import CORES  # noqa: E402
from msda_rounds import Clock, Meter, race  # noqa: E402
from msda_tables import as_data, table  # noqa: E402

from dilnas.files import write_atomic  # noqa: E402
from dilnas.measure.compiled import forget_compiled  # noqa: E402
from dilnas.measure.cpu import cpu_name  # noqa: E402
from dilnas.ops import ENVIRONMENT_VARIABLE  # noqa: E402

__all__ = ["DILATIONS", "OPERATOR", "arguments", "main"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {"dtype": "fp32", "batch": 8, "rounds": 9, "seconds": 60.0, "time_limit": 1e9},
    "cuda": {"dtype": "bf16", "batch": 128, "rounds": 25, "seconds": 1.0, "time_limit": 85.0},
}
"""A GPU is often lent by the minute."""

WAYS = ("forward", "training")

COMPILING_SHARE = 0.25
"""Of the time limit, for FlexAttention; compiled models may take all."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line, with the device's defaults filled in."""
    parser = argparse.ArgumentParser(description="benchmark multi-scale dilated attention")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: cuda where there is one")
    parser.add_argument("--dtype", choices=TYPES, help="default: fp32 on a CPU, bf16 on CUDA")
    parser.add_argument("--batch", type=int, help="default: 8 on a CPU, 128 on CUDA")
    parser.add_argument("--img-size", type=int, default=224, help="a multiple of 32")
    parser.add_argument("--variants", nargs="+", default=["tiny", "base"])
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--rounds", type=int, help="at most; default: 9 on a CPU, 25 on CUDA")
    parser.add_argument("--seconds", type=float, help="for the rounds of a case, at least three")
    parser.add_argument("--time-limit", type=float, help="seconds in all; 85 on CUDA")
    parser.add_argument("--only", nargs="+", choices=LEVELS, help="default: operator block model")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: both")
    parser.add_argument("--compile", action="store_true", help="compiled models too")
    parser.add_argument("--backends", nargs="+", choices=CORES, help="beside unfold")
    parser.add_argument("--out", type=Path, help="JSON, rewritten after every case")
    given = parser.parse_args(words)
    given.device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = given.device.partition(":")[0]
    if kind not in DEFAULTS:
        parser.error("--device must be cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    if given.img_size < 32 or given.img_size % 32:
        parser.error("--img-size must be a multiple of 32")
    for name, value in DEFAULTS[kind].items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if min(given.rounds, given.batch, given.threads) < 1 or not given.time_limit > 0:
        parser.error("--rounds, --batch, --threads and --time-limit must be above 0")
    given.only = list(given.only or ("operator", "block", "model"))
    given.only += ["compile"] if given.compile and "compile" not in given.only else []
    return given


def machine(device: str) -> dict[str, Any]:
    """What the numbers hold for."""
    facts: dict[str, Any] = {
        "processor": cpu_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
    }
    if device.startswith("cuda"):
        import triton

        return {"gpu": torch.cuda.get_device_name(device), "triton": triton.__version__, **facts}
    names = ("LD_PRELOAD", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    facts["allocator"] = {name: os.environ[name] for name in names if name in os.environ} or (
        " ".join(platform.libc_ver()) + " malloc, default thresholds"
    )
    return {**facts, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default")}


def main(words: list[str] | None = None) -> int:
    """Measure and print; the exit code."""
    given = arguments(words)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no lines of torch's profiler in between
    os.environ.pop(ENVIRONMENT_VARIABLE, None)  # which backend runs is for the contenders to say
    torch.manual_seed(0)
    if given.device == "cpu":
        torch.set_num_threads(given.threads)
    else:
        torch.cuda.set_device(given.device if ":" in given.device else "cuda:0")
    setting = Setting(
        given.device, given.dtype, given.batch, given.img_size, tuple(given.variants),
        tuple(given.backends) if given.backends else None,
    )  # fmt: skip
    clock, meter = Clock(BEGIN, given.time_limit), Meter(given.device)
    rate = meter.copy_bytes_per_s()
    facts = machine(given.device)
    found: dict[str, Any] = {
        "machine": facts,
        "setting": {"dtype": given.dtype, "batch": given.batch, "img_size": given.img_size},
        "memory": meter.memory_method,
        "copy_bytes_per_s": rate,
        "cases": [],
        "left_out": [],
    }
    if not find_spec("natten"):
        found["left_out"].append("natten: not installed")
    print(facts)
    print(f"{given.dtype}, batch {given.batch}, {given.img_size} pixels; a copy moves "
          f"{rate / 1e9:.1f} GB/s; memory: {meter.memory_method}")  # fmt: skip
    for case in cases(given.only, setting):
        if ("forward" if case.way == "forward" else "training") not in given.ways:
            continue
        if clock.left_s < 0:
            found["left_out"].append(f"{case.level} {case.name}, {case.way}: the time was over")
            continue
        results = race(
            case.calls(), meter, clock, rounds=given.rounds, seconds=given.seconds,
            slow_to_start=case.slow,
            compiling_share=1.0 if case.level == "compile" else COMPILING_SHARE,
        )  # fmt: skip
        forget_compiled()
        meter.release()
        found["cases"].append(as_data(case, results, rate))
        print(f"\n{table(case, results, rate)}", flush=True)
        if given.out:
            write_atomic(given.out, json.dumps(found, indent=1) + "\n")
    facts["load after"] = os.getloadavg()
    found["seconds"] = round(time.perf_counter() - BEGIN, 1)
    if given.out:
        write_atomic(given.out, json.dumps(found, indent=1) + "\n")
    for line in found["left_out"]:
        print(f"left out: {line}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
