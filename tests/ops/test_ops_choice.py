"""Which backend the door takes, and what it says where Triton is absent, broken or refused."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from interpreter import load_kernels
from torch._subclasses import FakeTensorMode

import dilnas.ops
from dilnas.errors import InputError
from dilnas.ops import backends_on, msda, triton_state

ARGUMENTS = (2, 3, (1, 2))
door = sys.modules["dilnas.ops.msda"]  # the module: the package's own name is the function


class OnCuda(torch.Tensor):
    """A tensor of the CPU that says it lies on a GPU, so that the door decides as it does there."""

    is_cuda = True

    @property
    def device(self):
        return torch.device("cuda", 0)


def on_cuda(*shape):
    """Normal numbers, always the same, "on a GPU"."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).as_subclass(OnCuda)


@pytest.fixture
def gpu(monkeypatch):
    """torch says that there is a GPU; what was found out about Triton is forgotten."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for found in (triton_state._trouble, triton_state._usable):
        found.cache_clear()
    yield
    for found in (triton_state._trouble, triton_state._usable):
        found.cache_clear()


@pytest.fixture
def no_triton(monkeypatch):
    """``import triton`` fails, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [name for name in sys.modules if name.startswith("dilnas.ops.triton_")]:
        if name != "dilnas.ops.triton_state":
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(dilnas.ops, name.rpartition(".")[2], raising=False)


def warned(qkv, times=3):
    """(results of some calls of the door, the texts of the warnings they gave)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [msda(qkv, *ARGUMENTS) for _ in range(times)]
    return results, [str(w.message) for w in caught if w.category is RuntimeWarning]


def assert_portable(results, qkv):
    """Each is the portable result of the same numbers, to the bit."""
    plain = msda(qkv.as_subclass(torch.Tensor), *ARGUMENTS, backend="portable")
    assert all(torch.equal(result.as_subclass(torch.Tensor), plain) for result in results)


def test_without_triton_there_is_one_warning_and_the_portable_result(gpu, no_triton):
    """Said once, not at every block of every batch; the backends that are left are listed."""
    qkv = on_cuda(2, 3, 4, 24)
    results, texts = warned(qkv)
    assert_portable(results, qkv)
    assert len(texts) == 1, texts
    assert "ModuleNotFoundError" in texts[0]
    assert "MSDA runs as portable PyTorch" in texts[0]
    assert "triton" not in backends_on("cuda")


def test_a_broken_triton_gives_one_warning_and_the_portable_result(gpu, monkeypatch):
    """It imports, but does not compile: what stands in the warning is the error's first line."""
    pytest.importorskip("triton")
    load_kernels()
    from dilnas.ops import triton_launch

    def broken(*_, **__):
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)  # no GPU to move it to
    monkeypatch.setattr(triton_launch, "forward", broken)
    qkv = on_cuda(2, 3, 4, 24)
    results, texts = warned(qkv)
    monkeypatch.undo()
    assert_portable(results, qkv)
    (text,) = texts
    assert "cuda:0 (RuntimeError: Failed to find C compiler.); MSDA runs" in text


def test_asked_for_by_name_a_triton_that_is_missing_is_an_error(gpu, no_triton):
    """Who forces a backend does not get another one; the reason is in the line."""
    with pytest.raises(InputError, match=r"the Triton kernels cannot be used .*ModuleNotFound"):
        msda(on_cuda(2, 3, 4, 24), *ARGUMENTS, backend="triton")


def test_on_a_cpu_the_kernels_are_refused_in_one_line(monkeypatch):
    """By argument and by DILNAS_MSDA; the line names the one that asked."""
    qkv = torch.randn(2, 3, 4, 24)
    line = "the Triton kernels cannot be used (got they run on CUDA, qkv is on cpu)"
    with pytest.raises(InputError) as found:
        msda(qkv, *ARGUMENTS, backend="triton")
    assert str(found.value) == f"backend: {line}"
    monkeypatch.setenv("DILNAS_MSDA", "triton")
    with pytest.raises(InputError) as found:
        msda(qkv, *ARGUMENTS)
    assert str(found.value) == f"DILNAS_MSDA: {line}"
    assert backends_on("cpu") == ("matmul", "oracle", "portable")


BEYOND = {
    "head dimensions": ((1, 3, 4, 3 * 2 * 5), 2, (1, 2)),
    "up to 128": ((1, 2, 3, 3 * 132), 1, (1,)),
    "at most 8 dilations": ((1, 2, 3, 3 * 9 * 4), 9, tuple(range(1, 10))),
}


@pytest.mark.parametrize("reason", BEYOND)
def test_what_the_kernels_do_not_take_falls_back_silently(gpu, reason):
    """Other head dimensions and more dilations: portable, without a word and without a probe."""
    shape, heads, dilations = BEYOND[reason]
    qkv = on_cuda(*shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        out = msda(qkv, heads, 3, dilations)
    plain = msda(qkv.as_subclass(torch.Tensor), heads, 3, dilations)
    assert torch.equal(out.as_subclass(torch.Tensor), plain)
    assert triton_state._trouble.cache_info().currsize == 0


@pytest.mark.parametrize("reason", BEYOND)
def test_what_the_kernels_do_not_take_is_refused_where_it_is_forced(interpreter, reason):
    """With the limit that it breaks."""
    shape, heads, dilations = BEYOND[reason]
    with pytest.raises(InputError, match=reason):
        msda(torch.zeros(shape), heads, 3, dilations, backend="triton")


def test_a_map_beyond_32_bit_offsets_is_refused():
    """2^31 numbers in one map, or a side that no 16 bits hold."""
    for shape in ((1, 8192, 8192, 96), (1, 40_000, 1, 12)):
        with pytest.raises(InputError, match="too large"):
            msda(torch.empty(shape, device="meta"), 1, 3, (1,), backend="triton")


def test_where_triton_works_the_door_takes_it(gpu, monkeypatch):
    """On CUDA, for a shape within the limits; gathered windows where a program is exported."""
    monkeypatch.setattr(triton_state, "probe", lambda device: "")
    qkv = on_cuda(2, 3, 4, 24)
    assert door._automatic(qkv, *ARGUMENTS) is dilnas.ops.BACKENDS["triton"]
    assert "triton" in backends_on("cuda")
    monkeypatch.setattr(torch.compiler, "_is_exporting_flag", True)
    assert door._automatic(qkv, *ARGUMENTS) is door.msda_windows


def in_vmap():
    """What a first call finds out under vmap, where drawing numbers is an error."""
    found = []

    def call(x):
        found.append(triton_state._trouble(0))
        return x

    torch.func.vmap(call)(torch.zeros(2))
    return found[0]


def in_mode(mode):
    """The same within a context."""
    with mode:
        return triton_state._trouble(0)


@pytest.mark.parametrize(
    "first_call",
    [
        in_vmap,
        lambda: in_mode(torch.device("meta")),
        lambda: in_mode(FakeTensorMode()),
        lambda: in_mode(torch.inference_mode()),
        lambda: in_mode(torch.autocast("cpu", torch.bfloat16)),
    ],
    ids=["vmap", "default-device", "fake-tensors", "inference-mode", "autocast"],
)
def test_whether_triton_works_does_not_depend_on_where_it_is_first_called(
    interpreter, gpu, monkeypatch, first_call
):
    """The probe sees none of the caller's modes; here it runs in the interpreter, on the CPU."""
    real = triton_state.probe
    monkeypatch.setattr(triton_state, "probe", lambda device: real("cpu"))
    assert first_call() == ""


def test_importing_the_model_does_not_import_the_compiler():
    """torch._dynamo takes a second, which a command that compiles nothing does not have."""
    code = "import sys, dilnas.model; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_answers_about_triton_are_constants_to_the_compiler():
    """As torch.compiler.assume_constant_result marks a function."""
    marked = vars(torch.compiler.assume_constant_result(lambda: None))
    assert marked
    for function in (triton_state.trouble, triton_state.usable):
        assert marked.items() <= vars(function).items()
