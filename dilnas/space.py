"""SearchSpace: what may vary, as ordinal axes; a code is one index per axis.

    space = SearchSpace.load("dilateformer")
    space.decode(space.encode(variant("tiny"))) == variant("tiny")

The files are in ``search_spaces/``; ``docs/spaces.md`` says how to write one. No torch, no cost.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.arch import DOWNSAMPLES, POS_EMBEDS, STEMS, Architecture
from dilnas.errors import SpaceError
from dilnas.files import parse_yaml, read_text
from dilnas.space_fields import NETWORK_FIELDS, STAGE_FIELDS, Axis, Value, stage_of
from dilnas.space_file import FORMAT, Definition, Place, definition_from_dict
from dilnas.space_match import candidates, checked_codes, tied_groups, why_not

__all__ = ["Axis", "SearchSpace", "UniqueCount"]

PACKAGE = Path(__file__).parent
FOLDERS = (PACKAGE / "_embedded" / "search_spaces", PACKAGE.parent / "search_spaces")
"""Where the shipped spaces are: in an installed package, in a checkout."""

Codes = npt.NDArray[np.int64]

CHOICES = {"stem": STEMS, "downsample": DOWNSAMPLES, "pos_embed": POS_EMBEDS}
REAL = ("msda_share", "mlp_ratio")
"""Fields whose values are not integers."""

CLASSIFIER = {"num_classes": 1000, "in_chans": 3}
"""Belong to the data: never a reason to be outside, unless the space sets them."""


@dataclass(frozen=True, slots=True)
class UniqueCount:
    """How many codes are distinct networks; ``exact`` or an unbiased estimate."""

    count: int
    exact: bool


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """Ordinal axes over architectures. Every code decodes to a valid one."""

    definition: Definition

    # --- where it comes from ----------------------------------------------------------------

    @classmethod
    def names(cls) -> list[str]:
        """Names of the shipped spaces, sorted."""
        return sorted(path.stem for path in _folder().glob("*.yaml"))

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> SearchSpace:
        """A shipped space by name, or a file. Raises SpaceError in one line."""
        text = os.fspath(name_or_path)
        path = Path(text)
        if text in cls.names():
            path = _folder() / f"{text}.yaml"
        elif not path.exists() and path.suffix not in {".yaml", ".yml"}:
            raise SpaceError(
                "unknown search space", where=repr(text),
                expected=f"{' | '.join(cls.names())} | FILE.yaml",
            )  # fmt: skip
        try:
            return cls.from_yaml(read_text(path, kind=SpaceError))
        except SpaceError as error:
            if error.where == str(path):
                raise
            where = f"{path}: {error.where}" if error.where else str(path)
            raise SpaceError(
                error.rule, where=where, expected=error.expected, got=error.got
            ) from None

    @classmethod
    def from_yaml(cls, text: str) -> SearchSpace:
        """A space from the text of its file. Raises SpaceError."""
        return cls.from_dict(parse_yaml(text, kind=SpaceError))

    @classmethod
    def from_dict(cls, data: object) -> SearchSpace:
        """Inverse of ``to_dict``. Raises SpaceError."""
        return cls(definition_from_dict(data))

    def to_dict(self) -> dict[str, Any]:
        """Canonical content of the file: defaults filled in, one entry a stage."""
        spec = self.definition
        fixed: dict[str, Any] = {
            name: spec.fixed[name, 0] for name in NETWORK_FIELDS if (name, 0) in spec.fixed
        }
        for name in STAGE_FIELDS:
            row = [spec.fixed.get((name, s + 1)) for s in range(self.num_stages)]
            if any(value is not None for value in row):
                fixed[name] = [list(v) if isinstance(v, tuple) else v for v in row]
        return {
            "dilnas_space": FORMAT,
            "name": spec.name,
            "description": spec.description,
            "image_size": spec.image_size,
            "stages": spec.num_stages,
            "fixed": fixed,
            "axes": {axis.name: axis.to_dict() for axis in spec.axes},
        }

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: equal when the same codes mean the same networks.

        The name and the description do not enter.
        """
        content = {k: v for k, v in self.to_dict().items() if k not in ("name", "description")}
        content["axes"] = list(content["axes"].items())  # the order of the axes is content too
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # --- what it is -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As in the file."""
        return self.definition.name

    @property
    def description(self) -> str:
        """One or two sentences for people."""
        return self.definition.description

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the space is meant for."""
        return self.definition.image_size

    @property
    def num_stages(self) -> int:
        """Stages of every architecture."""
        return self.definition.num_stages

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes in the order of a code."""
        return self.definition.axes

    @property
    def size(self) -> int:
        """Number of codes, exactly. Some are the same network: ``unique_count``."""
        return math.prod(len(axis) for axis in self.axes)

    # --- codes and architectures ------------------------------------------------------------

    def decode(self, code: Sequence[int] | Codes) -> Architecture:
        """The architecture of one code (A,). Raises SpaceError for a code that is none."""
        row = checked_codes(self.axes, [code])[0]
        stages = tuple(
            stage_of(tuple(self._at(row, (name, s)) for name in STAGE_FIELDS))
            for s in range(1, self.num_stages + 1)
        )
        network = {name: self._at(row, (name, 0)) for name in NETWORK_FIELDS}
        return Architecture(stages=stages, **network)

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The lowest code that decodes to ``architecture``. Raises SpaceError if it is outside.

        ``num_classes`` and ``in_chans`` are ignored unless the space sets them.
        """
        reason = self.why_not(architecture)
        if reason is not None:
            raise SpaceError(f"not in the space {self.name}: {reason}")
        return tuple(found[0] for found in candidates(self.definition, architecture))

    def why_not(self, architecture: Architecture) -> str | None:
        """Why the architecture is outside, with the path of the field; None if it is inside."""
        return why_not(self.definition, architecture)

    def sample(self, n: int, seed: int) -> Codes:
        """``n`` codes (n, A), uniform and independent; the same for the same seed."""
        lengths = np.array([len(axis) for axis in self.axes], dtype=np.int64)
        rng = np.random.default_rng(seed)
        return rng.integers(0, lengths, size=(n, len(lengths)), dtype=np.int64)

    def enumerate(self) -> Codes:
        """All codes (size, A) in lexicographic order, for spaces that are small enough."""
        lengths = tuple(len(axis) for axis in self.axes)
        return np.stack(np.unravel_index(np.arange(self.size), lengths), axis=1).astype(np.int64)

    def columns(self, codes: Sequence[Sequence[int]] | Codes) -> dict[str, Codes]:
        """Codes (N, A) as the arrays that ``cost_arrays`` takes, equal to ``decode`` of each.

        ``dim, num_heads, msda_depth, global_depth, window_size, mlp_hidden`` are (N, stages);
        ``stem, downsample, pos_embed`` (N,) are indices into ``arch.STEMS`` and so on;
        ``qkv_bias, num_classes, in_chans`` are (N,). A window is 0 where there is no MSDA block.
        """
        rows = checked_codes(self.axes, codes)
        table = {
            name: np.stack(
                [self._column(rows, (name, s)) for s in range(1, self.num_stages + 1)], axis=1
            )
            for name in STAGE_FIELDS
            if name != "dilations"
        }
        share, ratio = table.pop("msda_share"), table.pop("mlp_ratio")
        depth = table.pop("depth")
        msda = np.floor(depth * share + 0.5).astype(np.int64)
        table["msda_depth"], table["global_depth"] = msda, depth - msda
        table["mlp_hidden"] = (table["dim"] * ratio).astype(np.int64)
        table["window_size"] = np.where(msda > 0, table["window_size"], 0)
        for name in NETWORK_FIELDS:
            table[name] = self._column(rows, (name, 0))
        return table

    # --- duplicates -------------------------------------------------------------------------

    def multiplicity(self, architecture: Architecture) -> int:
        """How many codes decode to an architecture; 0 if it is outside."""
        if self.why_not(architecture) is not None:
            return 0
        return math.prod(len(found) for found in candidates(self.definition, architecture))

    def unique_count(self, *, limit: int = 20_000) -> UniqueCount:
        """How many networks the codes are.

        Counting 1/m for each code of a network that has m codes counts networks. Axes that no
        stage connects are independent, so this is done group by group and multiplied: over all
        codes of a group where they are at most ``limit``, else over a sample of 2,000.
        """
        groups = tied_groups(self.axes)
        grouped = {i for group in groups for i in group}
        count = Fraction(
            math.prod(len(axis) for i, axis in enumerate(self.axes) if i not in grouped)
        )
        exact = True
        for group in groups:
            lengths = tuple(len(self.axes[i]) for i in group)
            size = math.prod(lengths)
            if size <= limit:
                rows = np.zeros((size, len(self.axes)), dtype=np.int64)
                rows[:, group] = np.stack(np.unravel_index(np.arange(size), lengths), axis=1)
            else:
                rows, exact = self.sample(2_000, seed=0), False
            total = sum((self._inverse_multiplicity(row, group) for row in rows), Fraction())
            count *= total * size / len(rows)
        return UniqueCount(round(count), exact)

    def _inverse_multiplicity(self, row: Codes, group: list[int]) -> Fraction:
        """1 / number of codes of the same network that differ on the axes of ``group`` only."""
        found = candidates(self.definition, self.decode(row), only=group)
        return Fraction(1, math.prod(len(indices) for indices in found))

    # --- helpers ----------------------------------------------------------------------------

    def _at(self, row: Codes, place: Place) -> Value:
        if place in self.definition.setter:
            index = self.definition.setter[place]
            return self.axes[index].value(int(row[index]), place[1])
        return self.definition.fixed.get(place, CLASSIFIER.get(place[0]))

    def _column(self, rows: Codes, place: Place) -> npt.NDArray[Any]:
        """Values at a place for each row (N,), choices as indices."""
        choices = CHOICES.get(place[0])
        varies = place in self.definition.setter
        values = self.definition.values(place) if varies else (self._at(rows, place),)
        numbers = [choices.index(value) if choices else value for value in values]
        table = np.array(numbers, dtype=np.float64 if place[0] in REAL else np.int64)
        if varies:
            return table[rows[:, self.definition.setter[place]]]
        return np.broadcast_to(table, len(rows)).copy()


def _folder() -> Path:
    """Folder of the shipped spaces. Raises SpaceError for a broken installation."""
    for folder in FOLDERS:
        if folder.is_dir():
            return folder
    raise SpaceError("the shipped search spaces are missing: install dilnas again")
