"""Architecture: one DilateFormer as plain data; everything makes one or consumes one.

An invalid architecture cannot be constructed. The same network always has the same canonical
form, the same JSON and the same ``key``. No torch, no numpy.

    >>> from dilnas.arch import Architecture, Stage
    >>> Architecture(stages=(Stage(dim=72, num_heads=3, msda_depth=2),)).layout
    'D2'

Reference: Jiao et al., "DilateFormer: Multi-Scale Dilated Transformer for Visual Recognition",
IEEE TMM 2023 (arXiv 2302.01791), and the authors' code for the constructor's arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dilnas.errors import ArchitectureError, InputError
from dilnas.stage import Stage, check_fields, checked_integer, stage_from_dict, stage_to_dict

__all__ = ["DOWNSAMPLES", "POS_EMBEDS", "STEMS", "Architecture", "Stage"]

STEMS = ("overlapping", "nonoverlapping", "pointconv")
DOWNSAMPLES = ("conv3", "conv2")
POS_EMBEDS = ("block", "stage", "both", "none")
"""Where a depthwise 3x3 convolution adds position: at the start of each block, at the end of each
downsampling layer, in both places, nowhere."""

FORMAT = 1
"""Version of the JSON and YAML form. 1: first."""

MAX_STAGES = 8


def _choice(value: object, where: str, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ArchitectureError(
            "unknown choice", where=where, expected="|".join(choices), got=value
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network.

    Attributes:
        stages: the stages; between two of them the map is halved. Four in the paper.
        stem: how the image becomes a map at stride 4.
        downsample: the convolution between stages, 3x3 or 2x2, stride 2.
        pos_embed: where convolutional position embeddings are added (``POS_EMBEDS``).
        qkv_bias: whether the q, k, v projection has a bias.
        num_classes: outputs of the classifier; 0 means no classifier.
        in_chans: channels of the input image.
    """

    stages: tuple[Stage, ...]
    stem: str = "overlapping"
    downsample: str = "conv3"
    pos_embed: str = "block"
    qkv_bias: bool = True
    num_classes: int = 1000
    in_chans: int = 3

    def __post_init__(self) -> None:
        given: object = self.stages
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ArchitectureError("must be a list of stages", where="stages", got=given)
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise ArchitectureError(
                "wrong number of stages", where="stages",
                expected=f"1..{MAX_STAGES}", got=len(self.stages),
            )  # fmt: skip
        for i, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise ArchitectureError("must be a Stage", where=f"stages[{i}]", got=stage)
        object.__setattr__(self, "stages", tuple(self.stages))
        _choice(self.stem, "stem", STEMS)
        _choice(self.downsample, "downsample", DOWNSAMPLES)
        _choice(self.pos_embed, "pos_embed", POS_EMBEDS)
        if len(self.stages) == 1:  # nothing lies between stages: these say nothing
            object.__setattr__(self, "downsample", "conv3")
            without = {"stage": "none", "both": "block"}.get(self.pos_embed, self.pos_embed)
            object.__setattr__(self, "pos_embed", without)
        if not isinstance(self.qkv_bias, bool):
            raise ArchitectureError("must be true or false", where="qkv_bias", got=self.qkv_bias)
        for name, low, high in (("num_classes", 0, 1 << 22), ("in_chans", 1, 4096)):
            object.__setattr__(self, name, checked_integer(getattr(self, name), name, low, high))

    # --- what it is -------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the canonical form: equal exactly for equal architectures."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def stride(self) -> int:
        """Pixels of the input for one of the last map, along one side: 4 · 2^(stages - 1)."""
        return 4 << (len(self.stages) - 1)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(stage.depth for stage in self.stages)

    @property
    def layout(self) -> str:
        """Blocks by stage, D for MSDA and G for global: Tiny is ``D2 D2 G6 G2``."""
        return " ".join(
            "".join(f"{c}{n}" for c, n in (("D", s.msda_depth), ("G", s.global_depth)) if n)
            for s in self.stages
        )

    def check_input(self, height: int, width: int, *, where: str = "img_size") -> None:
        """Raise InputError unless every stage's map of an (height, width) image is whole."""
        for side in (height, width):
            if isinstance(side, bool) or not isinstance(side, int) or side < 1:
                raise InputError("image sides must be positive integers", where=where, got=side)
            if side % self.stride:
                low = side // self.stride * self.stride
                near = f"{low} or {low + self.stride}" if low else f"{self.stride}"
                raise InputError(
                    f"image sides must be multiples of the network's stride {self.stride}",
                    where=where, expected=near, got=side,
                )  # fmt: skip

    def replace(self, **changes: Any) -> Architecture:
        """A copy with some network-wide fields changed (``num_classes``, ``in_chans``, …)."""
        known = {f.name for f in fields(self)}
        for name in changes:
            if name not in known:
                raise ArchitectureError(
                    "unknown field", where=name, expected=", ".join(sorted(known))
                )
        return replace(self, **changes)

    # --- forms ------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, in canonical form."""
        out: dict[str, Any] = {"dilnas_architecture": FORMAT}
        out.update({f.name: getattr(self, f.name) for f in fields(self) if f.name != "stages"})
        out["stages"] = [stage_to_dict(stage) for stage in self.stages]
        return out

    @classmethod
    def from_dict(cls, data: object) -> Architecture:
        """Inverse of ``to_dict``. Raises ArchitectureError naming the field at fault."""
        if not isinstance(data, Mapping):
            raise ArchitectureError("an architecture must be a mapping", got=type(data).__name__)
        values = dict(data)
        version = values.pop("dilnas_architecture", FORMAT)
        if version != FORMAT:
            raise ArchitectureError(
                "unknown format", where="dilnas_architecture", expected=FORMAT, got=version
            )
        check_fields(cls, values, "")
        stages = values.pop("stages", None)
        if isinstance(stages, str) or not isinstance(stages, Sequence):
            raise ArchitectureError("must be a list of stages", where="stages", got=stages)
        if len(stages) > MAX_STAGES:
            raise ArchitectureError(
                "too many stages", where="stages", expected=f"1..{MAX_STAGES}", got=len(stages)
            )
        built = tuple(stage_from_dict(stage, f"stages[{i}]") for i, stage in enumerate(stages))
        return cls(stages=built, **values)

    def to_json(self) -> str:
        """Canonical JSON on one line: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Architecture:
        """Inverse of ``to_json``; takes any JSON layout of the same fields."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchitectureError(f"not JSON: {error}") from error
        return cls.from_dict(data)

    def to_yaml(self) -> str:
        """YAML for people, a stage a line."""
        head = {k: v for k, v in self.to_dict().items() if k != "stages"}
        lines = [f"{name}: {json.dumps(value)}" for name, value in head.items()]
        lines.append("stages:")
        for stage in self.stages:
            items = ", ".join(f"{k}: {json.dumps(v)}" for k, v in stage_to_dict(stage).items())
            lines.append(f"  - {{{items}}}")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_yaml(cls, text: str) -> Architecture:
        """Inverse of ``to_yaml``; the safe loader only, so a file cannot run code."""
        from dilnas.files import parse_yaml

        return cls.from_dict(parse_yaml(text, kind=ArchitectureError))

    @classmethod
    def from_official(cls, **kwargs: Any) -> Architecture:
        """From the official constructor's arguments (``dilnas.official``), their spelling kept."""
        from dilnas.official import architecture_from_official

        return architecture_from_official(kwargs)
