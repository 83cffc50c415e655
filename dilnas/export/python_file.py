"""``model.py``: an architecture as one readable file that needs PyTorch and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

from dilnas.arch import Architecture, Stage
from dilnas.errors import ExportError
from dilnas.export import python_parts as parts
from dilnas.export.checks import compare_outputs
from dilnas.export.network import FullNetwork
from dilnas.files import write_atomic

__all__ = ["python_source", "write_python"]

LONGEST = 88
LONGEST_NAME = 60


def write_python(network: FullNetwork, folder: Path, name: str) -> str:
    """Write ``model.py``, run it, give its network the weights and compare.

    ``folder`` holds ``model.safetensors`` already if there are trained weights: then ``model.py``
    reads them itself. Returns what was checked as a sentence. Raises ExportError.
    """
    path, architecture = folder / "model.py", network.model.architecture
    write_atomic(path, python_source(architecture, name), kind=ExportError)
    build = runpy.run_path(str(path), run_name="model")["build"]
    weights = folder / "model.safetensors"
    model = build(str(weights)) if weights.is_file() else build()
    if not weights.is_file():
        model.load_state_dict(network.model.state_dict())
    stride = architecture.stride
    sizes = [(1, stride, 2 * stride), (3, 3 * stride, 2 * stride)]
    result = compare_outputs(path.name, network.model, model.eval(), sizes)
    return f"{path.name}: run on its own, {result}"


def python_source(architecture: Architecture, name: str) -> str:
    """Text of ``model.py``.

    What the architecture does not have is not in it: a network without global blocks has no class
    for them. ``name`` is only shown; of a hostile one, plain characters are left.
    """
    a = architecture
    dilated = any(stage.msda_depth for stage in a.stages)
    everywhere = any(stage.global_depth for stage in a.stages)
    texts = [_head(a), parts.STAGE_TUPLE, _constants(a, name), parts.DROP_PATH, parts.MLP]
    if dilated:
        texts.append(parts.MSDA.replace("{qkv_bias}", str(a.qkv_bias)))
    if everywhere:
        texts.append(parts.GLOBAL.replace("{qkv_bias}", str(a.qkv_bias)))
    texts += [_block(a, dilated, everywhere), parts.STEMS[a.stem]]
    if len(a.stages) > 1:
        texts.append(_downsample(a))
    texts += [_stage(a), _network(a), parts.MAIN]
    return "".join(texts)


def _head(a: Architecture) -> str:
    from dilnas import __version__
    from dilnas.cost import cost

    return parts.HEAD.format(
        layout=a.layout,
        params=cost(a, a.stride).params,
        key=a.key,
        version=__version__,
        in_chans=a.in_chans,
        outputs=a.num_classes or a.stages[-1].dim,
        stride=a.stride,
    )


def _constants(a: Architecture, name: str) -> str:
    lines = [f'NAME = "{_plain(name)}"', f"IN_CHANS = {a.in_chans}"]
    if a.num_classes:
        lines.append(f"NUM_CLASSES = {a.num_classes}")
    lines.append("STAGES = (")
    for stage in a.stages:
        lines += ["    Stage(", *_fields(stage), "    ),"]
    return "\n\n" + "\n".join([*lines, ")"]) + "\n"


def _fields(stage: Stage) -> list[str]:
    """A stage's fields, one a line; a tuple that is too long, one of its numbers a line."""
    values = {
        "dim": stage.dim,
        "num_heads": stage.num_heads,
        "msda_depth": stage.msda_depth,
        "global_depth": stage.global_depth,
        "window_size": stage.window_size or 1,
        "dilations": stage.dilations,
        "mlp_hidden": stage.mlp_hidden,
    }
    lines = []
    for name, value in values.items():
        line = f"        {name}={value},"
        if isinstance(value, tuple) and len(line) > LONGEST:
            lines += [f"        {name}=(", *(f"            {n}," for n in value), "        ),"]
        else:
            lines.append(line)
    return lines


def _block(a: Architecture, dilated: bool, everywhere: bool) -> str:
    position, add = parts.BLOCK_POSITION if a.pos_embed in ("block", "both") else ("", "")
    return parts.BLOCK.format(
        what="Position, attention and MLP" if position else "Attention and MLP",
        kind=parts.ATTENTION_HEAD[dilated, everywhere],
        position=position,
        add_position=add,
    )


def _downsample(a: Architecture) -> str:
    kernel, padding = (3, 1) if a.downsample == "conv3" else (2, 0)
    position, result = "", "        return self.proj(x)\n"
    if a.pos_embed in ("stage", "both"):
        position, result = parts.DOWNSAMPLE_POSITION
    return parts.DOWNSAMPLE.format(kernel=kernel, padding=padding, position=position, result=result)


def _stage(a: Architecture) -> str:
    if len(a.stages) == 1:
        return parts.STAGE.format(and_downsampling="", downsample="", result="x")
    downsample = (
        "        self.downsample = nn.Identity()\n"
        "        if index + 1 < len(STAGES):\n"
        "            self.downsample = Downsample(stage.dim, STAGES[index + 1].dim)\n"
    )
    return parts.STAGE.format(
        and_downsampling=" and the downsampling to the next one",
        downsample=downsample,
        result="self.downsample(x)",
    )


def _network(a: Architecture) -> str:
    head, result = "nn.Identity()", f"features (B, {a.stages[-1].dim})"
    if a.num_classes:
        head, result = "nn.Linear(dim, NUM_CLASSES)", "logits (B, NUM_CLASSES)"
    return parts.NETWORK.replace("{head}", head).replace("{result}", result)


def _plain(name: str) -> str:
    """``name`` as it can stand between double quotes: no quote, backslash or control character."""
    kept = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return kept[:LONGEST_NAME]
