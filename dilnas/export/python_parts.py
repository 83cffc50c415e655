"""The pieces that ``model.py`` is put together from. They are Python for the reader, not for us.

Each is as ruff formats it by default, at 88 columns, so that the file is too.
"""

from __future__ import annotations

__all__ = [
    "ATTENTION_HEAD", "BLOCK", "BLOCK_POSITION", "DOWNSAMPLE", "DOWNSAMPLE_POSITION", "DROP_PATH",
    "GLOBAL", "HEAD", "MAIN", "MLP", "MSDA", "NETWORK", "STAGE", "STAGE_TUPLE", "STEMS",
]  # fmt: skip

HEAD = '''\
"""DilateFormer in one file that needs PyTorch and nothing else.

Layout (D: dilated blocks, G: global blocks): {layout}
{params:,} parameters; architecture key {key}, written by dilnas {version}.

    from model import build

    network = build("model.safetensors")  # or build(), with fresh weights
    logits = network.eval()(images)  # (B, {in_chans}, H, W) -> (B, {outputs})

H and W are multiples of {stride}. Parameters have the names of the authors' checkpoints.
Source: Jiao et al., "DilateFormer: Multi-Scale Dilated Transformer for Visual
Recognition", IEEE TMM 2023.
"""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
'''

STAGE_TUPLE = '''

class Stage(NamedTuple):
    """A part of the network at one resolution."""

    dim: int  # channels
    num_heads: int
    msda_depth: int  # blocks of dilated attention, first
    global_depth: int  # blocks of global attention, after them
    window_size: int
    dilations: tuple[int, ...]  # one for each group of heads
    mlp_hidden: int
'''

DROP_PATH = '''

class DropPath(nn.Module):
    """Leaves a branch out for a random share of the samples while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)
'''

MLP = '''

class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
'''

MSDA = '''

def msda(qkv: Tensor, num_heads: int, window_size: int, dilations: tuple) -> Tensor:
    """Multi-scale dilated attention of a map, (B, H, W, 3C) -> (B, H, W, C).

    A head of group i attends to window_size x window_size keys around each query, at a
    distance of dilations[i]. Keys and values outside of the map are zero: such a key
    has logit 0, stays in the softmax's denominator and adds nothing.
    """
    b, h, w, tripled = qkv.shape
    depth, share = tripled // 3 // num_heads, num_heads // len(dilations)
    half = qkv.dtype in (torch.float16, torch.bfloat16)
    maps = (qkv.float() if half else qkv).reshape(b, h, w, 3, num_heads, depth)
    out = []
    for i, dilation in enumerate(dilations):
        q, k, v = maps[:, :, :, :, i * share : (i + 1) * share].unbind(3)
        margin = dilation * (window_size // 2)
        k, v = (F.pad(t, (0, 0, 0, 0) + (margin,) * 4) for t in (k, v))
        steps = range(0, window_size * dilation, dilation)
        taps = [(slice(y, y + h), slice(x, x + w)) for y in steps for x in steps]
        logits = torch.stack([(q * k[:, y, x]).sum(-1) for y, x in taps], -1)
        attention = (logits * depth**-0.5).softmax(-1).unsqueeze(-1).unbind(-2)
        out.append(sum(a * v[:, y, x] for a, (y, x) in zip(attention, taps)))
    return torch.cat(out, 3).flatten(3).to(qkv.dtype)


class MultiScaleDilatedAttention(nn.Module):
    """Attention to a neighbourhood; the projection to q, k, v is a 1x1 convolution."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.qkv = nn.Conv2d(stage.dim, 3 * stage.dim, 1, bias={qkv_bias})
        self.proj = nn.Linear(stage.dim, stage.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        qkv = self.qkv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        stage = self.stage
        return self.proj(msda(qkv, stage.num_heads, stage.window_size, stage.dilations))
'''

GLOBAL = '''

class GlobalAttention(nn.Module):
    """Every position attends to every other."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.num_heads = stage.num_heads
        self.qkv = nn.Linear(stage.dim, 3 * stage.dim, bias={qkv_bias})
        self.proj = nn.Linear(stage.dim, stage.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        b, h, w, c = x.shape
        heads = (b, h * w, 3, self.num_heads, c // self.num_heads)
        q, k, v = self.qkv(x).reshape(heads).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, h, w, c))
'''

ATTENTION_HEAD = {
    (True, True): (
        "        dilated = index < stage.msda_depth\n"
        "        kind = MultiScaleDilatedAttention if dilated else GlobalAttention\n"
    ),
    (True, False): "        kind = MultiScaleDilatedAttention\n",
    (False, True): "        kind = GlobalAttention\n",
}
"""Which attention a block has, by whether the network has dilated and global ones."""

BLOCK_POSITION = (
    "        self.pos_embed = nn.Conv2d(stage.dim, stage.dim, 3, padding=1, groups=stage.dim)\n",
    "        x = x + self.pos_embed(x)\n",
)

BLOCK = '''

class Block(nn.Module):
    """{what}, each added to what came in."""

    def __init__(self, stage: Stage, index: int, drop_path: float) -> None:
        super().__init__()
{kind}{position}        self.norm1 = nn.LayerNorm(stage.dim, eps=1e-6)
        self.attn = kind(stage)
        self.norm2 = nn.LayerNorm(stage.dim, eps=1e-6)
        self.mlp = Mlp(stage.dim, stage.mlp_hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
{add_position}        x = x.permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)
'''

STEM_HEAD = '''

class PatchEmbed(nn.Module):
    """The stem: an image becomes a map at stride 4."""

    def __init__(self) -> None:
        super().__init__()
'''

STEM_PLAN = """\
        layers: list[nn.Module] = []
        plan = {plan}
        width = IN_CHANS
        for out, kernel, stride in plan:
            padding = kernel // 2
            conv = nn.Conv2d(width, out, kernel, stride, padding, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.GELU()]
            width = out
        self.proj = nn.Sequential(*layers[:-2])  # the last convolution stands alone
"""

STEM_FORWARD = """
    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)
"""

STEMS = {
    "overlapping": STEM_HEAD
    + STEM_PLAN.format(plan="((16, 3, 1), (32, 3, 2), (64, 3, 1), (STAGES[0].dim, 3, 2))")
    + STEM_FORWARD,
    "pointconv": STEM_HEAD
    + STEM_PLAN.format(plan="((16, 3, 2), (32, 1, 1), (64, 3, 2), (STAGES[0].dim, 1, 1))")
    + STEM_FORWARD,
    "nonoverlapping": STEM_HEAD
    + "        self.proj = nn.Conv2d(IN_CHANS, STAGES[0].dim, 4, stride=4)\n"
    + STEM_FORWARD,
}

DOWNSAMPLE_POSITION = (
    "        self.pos_embed = nn.Conv2d(out, out, 3, padding=1, groups=out)\n",
    "        x = self.proj(x)\n        return x + self.pos_embed(x)\n",
)

DOWNSAMPLE = '''

class Downsample(nn.Module):
    """Halves the map between two stages."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        conv = nn.Conv2d(dim, out, {kernel}, stride=2, padding={padding})
        self.proj = nn.Sequential(conv, nn.BatchNorm2d(out))
{position}
    def forward(self, x: Tensor) -> Tensor:
{result}'''

STAGE = '''

class StageModule(nn.Module):
    """The blocks of a stage{and_downsampling}."""

    def __init__(self, index: int, rates: list[float]) -> None:
        super().__init__()
        stage = STAGES[index]
        self.blocks = nn.ModuleList(Block(stage, i, r) for i, r in enumerate(rates))
{downsample}
    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return {result}
'''

NETWORK = '''

class DilateFormer(nn.Module):
    """The classifier."""

    def __init__(self, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        depths = [stage.msda_depth + stage.global_depth for stage in STAGES]
        total = sum(depths)
        rates = [drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        self.patch_embed = PatchEmbed()
        self.stages = nn.ModuleList()
        for i, depth in enumerate(depths):
            self.stages.append(StageModule(i, rates[:depth]))
            rates = rates[depth:]
        dim = STAGES[-1].dim
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = {head}
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, IN_CHANS, H, W) -> {result}."""
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        return self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))


def initialise(module: nn.Module) -> None:
    """The authors' start: truncated normal for linear layers, torch's for the others."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
'''

MAIN = '''

def build(weights: str | None = None, drop_path_rate: float = 0.0) -> DilateFormer:
    """The network, with fresh weights or those of a safetensors or torch file."""
    network = DilateFormer(drop_path_rate)
    if weights is not None:
        network.load_state_dict(load_weights(weights))
    return network


def load_weights(path: str) -> dict[str, Tensor]:
    """Tensors by name. A safetensors file is a JSON header and plain numbers."""
    if not str(path).endswith(".safetensors"):
        return torch.load(path, map_location="cpu", weights_only=True)
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    tensors = {}
    for name, entry in header.items():
        dtype = getattr(torch, names.get(entry["dtype"], "int64"))
        start, end = entry["data_offsets"]
        flat = torch.frombuffer(memoryview(data)[start:end], dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


if __name__ == "__main__":
    model = build(*sys.argv[1:2])
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{NAME}: {count:,} parameters")
'''
