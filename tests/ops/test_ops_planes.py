"""Maps as planes: float32 takes another way there and back than float64; both keep every number."""

from __future__ import annotations

import pytest
import torch

from dilnas.ops import msda
from dilnas.ops.planes import from_planes, to_planes


@pytest.mark.parametrize("shape", [(1, 3, 16), (5, 7, 19), (2, 60, 41), (4, 14, 15), (0, 4, 20)])
@pytest.mark.parametrize("channels", [1, 6, 45])
def test_float32_maps_go_to_planes_and_back_unchanged(shape, channels):
    """Contiguous and strided maps, an empty batch, and channels that fill no vector."""
    whole = torch.randn(*shape, 2 * channels)
    narrow = shape[2] < 16
    for x in (whole[..., :channels].contiguous(), whole[..., channels:], whole.double()):
        planes = to_planes(x)
        assert torch.equal(planes, x.permute(3, 1, 2, 0) if narrow else x.permute(3, 0, 1, 2))
        back = from_planes(planes, x)
        assert back.is_contiguous()
        assert torch.equal(back, x)


def test_a_map_that_is_a_part_of_a_larger_tensor_is_read_where_it_lies():
    """The second half of a batch, contiguous but not at the start of its storage."""
    x = torch.randn(4, 5, 18, 9)[2:]
    assert torch.equal(to_planes(x), x.permute(3, 0, 1, 2))


@pytest.mark.parametrize("strided", [False, True])
def test_float32_agrees_with_the_oracle_in_value_and_gradient(strided):
    """On a wide map with H != W, whichever way qkv and the gradient lie."""
    qkv = torch.randn(3, 9, 21, 36)
    slope = torch.randn(3, 21, 9, 12).transpose(1, 2) if strided else torch.randn(3, 9, 21, 12)
    if strided:
        qkv = qkv.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    found = []
    for backend in ("portable", "oracle"):
        x = qkv.detach().requires_grad_()
        out = msda(x, 3, 3, (1, 2, 11), backend=backend)
        found.append((out, torch.autograd.grad(out, x, slope)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
