"""A process beside the session's own, for what needs no quiet machine: checks, memory, compiling.

    python benchmarks/gpu_job.py '{"device": …, "limit_s": …}'

reads tasks from stdin, a line of JSON each: {"kind": …, "item": …}. Each is answered by a line of
JSON on stdout before the next is read: its ``status`` ("passed", "failed", "cannot tell"),
``seconds``, ``text``, ``traceback`` and ``result``. So torch is imported once for many. Kinds:

    checks     functions of tests/gpu, by name
    memory     [variant, mode, dtype, batch size, side]: a Memory, from a fresh process
    kernels    problems of MSDA (``gpu_crowd.problems``): compiled into Triton's cache on the disk
    networks   [variant, mode, dtype, batch size, side]: the same for torch.compile

An item that fails does not stop the next one, unless the device answers no more: a CUDA error stays
with its process, which ends then. It also ends with its stdin, and after ``limit_s`` in any case.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "tests" / "gpu", ROOT / "benchmarks", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from gpu_runner import told, trace  # noqa: E402

__all__ = ["answered", "check_named"]


def answered(name: str, work: Callable[[], Any]) -> dict[str, Any]:
    """What became of ``work``, as plain data; it returns what is to be the ``result``."""
    row: dict[str, Any] = {"name": name, "status": "passed", "seconds": 0.0, "text": ""}
    begin = time.perf_counter()
    try:
        row["result"] = work()
    except Exception as error:  # noqa: BLE001 - the next item is another question
        if type(error).__name__ == "CannotTell":  # by name: it lives with the checks
            row["status"], row["text"] = "cannot tell", str(error)
        else:
            row["status"], row["text"] = "failed", told(error)[:1000]
            row["traceback"] = trace(error)
    row["seconds"] = round(time.perf_counter() - begin, 2)
    return row


def check_named(name: str) -> Callable[[str], None]:
    """A check of tests/gpu by its function's name."""
    from checks_measuring import every_check

    found: Callable[[str], None] = next(c for c in every_check() if c.__name__ == name)
    return found


def _check(device: str, name: str) -> None:
    check_named(name)(device)


def _workload(device: str, item: list[Any], compile_mode: str = "eager") -> tuple[Any, ...]:
    from dilnas.cost import cost
    from dilnas.records import Workload
    from dilnas.variants import variant

    name, mode, dtype, batch, side = item
    architecture = variant(name)
    workload = Workload(
        batch_size=batch, height=side, width=side, dtype=dtype, device=device, mode=mode,
        compile=compile_mode,
    )  # fmt: skip
    return architecture, workload, cost(architecture, side, side)


def _memory(device: str, item: list[Any]) -> dict[str, Any]:
    from dilnas.measure.memory import measure_memory

    return asdict(measure_memory(*_workload(device, item), timeout_s=120))


def _network(device: str, item: list[Any]) -> None:
    from dilnas.measure.machine import settings
    from dilnas.measure.workload import prepare

    architecture, workload, exact = _workload(device, item, "compile")
    with settings(workload):
        prepare(architecture, workload, exact)


def _kernels(device: str, item: list[Any]) -> None:
    import torch

    from dilnas.ops import msda

    batch, height, width, heads, depth, window, dilations, dtype, train = item
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(dtype, torch.float32)
    shape = (batch, height, width, 3 * heads * depth)
    qkv = torch.ones(shape, device=device, dtype=kind, requires_grad=train)
    with torch.set_grad_enabled(train):
        out = msda(qkv, heads, window, tuple(dilations))
    if train:
        loss: Any = out.sum()
        loss.backward()
    if qkv.is_cuda:
        torch.cuda.synchronize(device)


KINDS: dict[str, Callable[[str, Any], Any]] = {
    "checks": _check, "memory": _memory, "kernels": _kernels, "networks": _network,
}  # fmt: skip


def _lost(device: str) -> bool:
    """Whether the device answers no more, as far as this process has used it."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def main(words: list[str]) -> int:
    """Answer every task."""
    request = json.loads(words[0])
    device = request["device"]
    if hasattr(signal, "alarm"):
        signal.alarm(max(int(request["limit_s"]), 1))
    if hasattr(os, "nice"):
        os.nice(5)  # the session itself goes first
    sys.stdout.flush()
    with (
        os.fdopen(os.dup(0), encoding="utf-8") as tasks,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as channel,
        open(os.devnull) as nothing,  # noqa: PTH123
    ):
        os.dup2(nothing.fileno(), 0)  # a compiler that is run must not take a task
        os.dup2(2, 1)  # what libraries print is no answer
        for line in tasks:
            task = json.loads(line)
            kind, item = task["kind"], task["item"]
            row = answered(str(item), partial(KINDS[kind], device, item))
            row["last"] = row["status"] == "failed" and _lost(device)
            channel.write(json.dumps(row, default=str) + "\n")
            channel.flush()
            if row["last"]:
                break
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a compiler's pool must not keep it
