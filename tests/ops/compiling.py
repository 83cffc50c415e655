"""Compiles MSDA's kernels for a GPU that need not be there, and prints what came of it as JSON.

    python tests/ops/compiling.py bfloat16 24 [--window 3] [--target 90]

Run by ``test_ops_compiled`` in a process of its own: the tests' process interprets kernels.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dilnas.ops import triton_kernels as kernels
from dilnas.ops import triton_launch as launch

TENSORS = {"qkv", "out", "grad", "dqkv"}
SUMS = {"lse", "delta"}
KINDS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
FUNCTIONS = {
    "forward": kernels.msda_forward, "queries": kernels.msda_backward_queries,
    "keys": kernels.msda_backward_keys,
}  # fmt: skip


def compiled(kernel: str, dtype: str, depth: int, window: int, target: int):
    """The kernel as it would be launched on a 56 x 56 map of three heads."""
    shape = (2, 56, 56, 9 * depth)
    kind = getattr(torch, dtype)
    _, _, options = launch._prepared(shape, shape[3], kind, 3, window, (1, 2, 3), kernel, None)
    if kernel == "forward":
        options = {**options, "ROWS": window if window <= 3 else 1, "KEEP": True}
    function = FUNCTIONS[kernel]
    warps = options.pop("num_warps")
    words = {"low": "i64", "high": "i64"}
    signature = {
        name: f"*{KINDS[dtype]}" if name in TENSORS else "*fp32" if name in SUMS
        else "constexpr" if name in options else words.get(name, "i32")
        for name in function.arg_names
    }  # fmt: skip
    index = function.arg_names.index
    return triton.compile(
        ASTSource(
            function, signature, {(index(name),): value for name, value in options.items()},
            {(index(name),): [["tt.divisibility", 16]]
             for name in function.arg_names if name in TENSORS | SUMS},
        ),
        target=GPUTarget("cuda", target, 32), options={"num_warps": warps},
    )  # fmt: skip


def told(cubin: bytes) -> dict[str, int]:
    """Registers and bytes of stack of a thread, and how many loads are of 16 bytes."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage, code = (
            subprocess.run([tool, flag, path], capture_output=True, text=True, check=True).stdout
            for flag in ("-res-usage", "-sass")
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    loads = re.findall(r"LDG\.E(\.\d+)?", code)
    return {
        "registers": int(found[1]), "stack_bytes": int(found[2]),
        "loads_of_16_bytes": loads.count(".128"), "loads": len(loads),
    }  # fmt: skip


def main() -> None:
    """Every kernel; one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dtype", choices=KINDS)
    parser.add_argument("depth", type=int)
    parser.add_argument("--window", type=int, default=3)
    parser.add_argument("--target", type=int, default=90)
    given = parser.parse_args()
    out = {}
    for kernel in FUNCTIONS:
        made = compiled(kernel, given.dtype, given.depth, given.window, given.target)
        out[kernel] = told(made.asm["cubin"])
    print(json.dumps(out))


if __name__ == "__main__":
    main()
