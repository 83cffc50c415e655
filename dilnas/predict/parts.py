"""A network as the parts that take its time: stem, blocks, downsampling layers, head.

Two blocks that do the same arithmetic on maps of the same size are the same ``Part``; a network is
a count of each. Times add up over parts, so what is known of parts is known of every network that
is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dilnas.arch import Architecture, Stage
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE

__all__ = ["KINDS", "Part", "parts_of"]

KINDS = ("stem", "msda", "global", "downsample", "head")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One part, for images of one size; numbers that its kind has not are 0.

    Attributes:
        kind: one of ``KINDS``.
        form: how it is made where there are several ways: of the stem and of the downsampling.
        height, width: pixels of its input map (of the image for the stem).
        inputs: channels of its input.
        outputs: channels of its output, classes for the head; as ``inputs`` for a block.
        heads: attention heads.
        hidden: width of the MLP.
        window: side of the MSDA window.
        dilations: of the MSDA head groups.
        position: 1 with a position embedding, else 0.
        bias: 1 where q, k, v have a bias, else 0.
    """

    kind: str
    form: str
    height: int
    width: int
    inputs: int
    outputs: int
    heads: int = 0
    hidden: int = 0
    window: int = 0
    dilations: tuple[int, ...] = ()
    position: int = 0
    bias: int = 0

    @property
    def text(self) -> str:
        """For errors and tables: ``msda 56x56, dim 72, window 3, dilations 1 2 3, mlp 288``."""
        words = [f"{self.kind} {self.height}x{self.width}"]
        if self.form:
            words.append(self.form)
        if self.hidden:
            words.append(f"dim {self.inputs}")
            if self.window:
                words.append(
                    f"window {self.window}, dilations {' '.join(map(str, self.dilations))}"
                )
            words.append(f"mlp {self.hidden}")
        else:
            words.append(f"{self.inputs} to {self.outputs}")
        return ", ".join(words)


def parts_of(architecture: Architecture, height: int, width: int) -> list[Part]:
    """The parts in the order in which an image of ``height`` x ``width`` pixels passes them.

    As many as the network has: a stage of six equal blocks gives the same part six times. Raises
    InputError where the strides do not divide the image.
    """
    architecture.check_input(height, width)
    return list(_parts(architecture, height, width))


def _parts(a: Architecture, height: int, width: int) -> Iterator[Part]:
    yield Part("stem", a.stem, height, width, a.in_chans, a.stages[0].dim)
    height, width = height // 4, width // 4
    for i, stage in enumerate(a.stages):
        for j in range(stage.depth):
            yield _block(a, stage, height, width, msda=j < stage.msda_depth)
        if i + 1 < len(a.stages):
            yield Part(
                "downsample", a.downsample, height, width, stage.dim, a.stages[i + 1].dim,
                position=int(a.pos_embed in BY_STAGE),
            )  # fmt: skip
            height, width = height // 2, width // 2
    yield Part("head", "", height, width, a.stages[-1].dim, a.num_classes)


def _block(a: Architecture, stage: Stage, height: int, width: int, *, msda: bool) -> Part:
    return Part(
        "msda" if msda else "global", "", height, width, stage.dim, stage.dim, stage.num_heads,
        stage.mlp_hidden, (stage.window_size or 0) if msda else 0,
        stage.dilations if msda else (), int(a.pos_embed in BY_BLOCK), int(a.qkv_bias),
    )  # fmt: skip
