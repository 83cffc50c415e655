"""What is exported: a candidate of a run, a variant, or an architecture file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.export.pick import Pick, pick_trial, split_run
from dilnas.runs import RunDirectory, resolve
from dilnas.variants import VARIANTS

__all__ = ["Source", "find_source", "training_side"]

PAPER_SIDE = 224
"""Side of the paper's training images, in pixels."""


def training_side(architecture: Architecture) -> int:
    """The paper's 224 pixels, or the next larger side that the network's stride allows."""
    return -(-PAPER_SIDE // architecture.stride) * architecture.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One architecture and where it comes from.

    Attributes:
        name: short, for the card's title.
        slug: the name as a folder name.
        architecture: the full network, as searched.
        image_size: height and width of the images that its cost is stated for, in pixels.
        run: the search it comes from, or None.
        settings: run.json of that search.
        pick: which candidate of it, and why.
    """

    name: str
    slug: str
    architecture: Architecture
    image_size: tuple[int, int]
    run: RunDirectory | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pick: Pick | None = None

    @property
    def trial_directory(self) -> Path | None:
        """Folder of the candidate, with its checkpoint where it was trained."""
        if self.run is None or self.pick is None:
            return None
        return self.run.trial_directory(self.pick.trial)


def find_source(spec: str, pick: str | None) -> Source:
    """What ``spec`` (RUN, RUN#N, a variant, a file) and ``pick`` (knee, best, N) stand for.

    Raises ExportError, RunError or ArchitectureError saying which of these it is not.
    """
    try:
        return _find(spec, pick)
    except OSError as error:  # a name too long, a folder that may not be entered
        raise ExportError(f"cannot be read: {error.strerror or error}", where=spec) from error


def _find(spec: str, pick: str | None) -> Source:
    if spec not in VARIANTS and ("#" in spec or _is_run(spec)):
        folder, chosen = split_run(spec, pick)
        return _from_run(RunDirectory.open(folder), chosen)
    if spec not in VARIANTS and not Path(spec).exists():
        raise ExportError(
            "no run, variant or file of that name", where=repr(spec),
            expected=f"RUN | RUN#N | {' | '.join(VARIANTS)} | FILE.yaml",
        )  # fmt: skip
    if pick is not None:
        raise ExportError("only a run has candidates to pick from", where="--pick", got=pick)
    if Path(spec).is_dir() and spec not in VARIANTS and not _has_architecture(spec):
        RunDirectory.open(spec)  # says what is missing
    name, architecture = resolve(spec)
    slug = Path(name).name or "architecture"
    side = training_side(architecture)
    return Source(name=slug, slug=slug, architecture=architecture, image_size=(side, side))


def _from_run(run: RunDirectory, pick: str) -> Source:
    settings = run.run_json()
    chosen = pick_trial(run, pick)
    name = run.path.resolve().name
    return Source(
        name=f"{name}#{chosen.trial}",
        slug=f"{name}-{pick}",
        architecture=run.architecture(chosen.trial),
        image_size=_image_size(run, settings),
        run=run,
        settings=settings,
        pick=chosen,
    )


def _image_size(run: RunDirectory, settings: dict[str, Any]) -> tuple[int, int]:
    """Height and width of the images that the search costed its candidates at, from its space.

    Raises ExportError or SpaceError if the space is not what it was.
    """
    side = settings.get("image_size")
    if side is None:
        from dilnas.space import SearchSpace

        space = SearchSpace.load(str(settings.get("space")))
        written = settings.get("space_fingerprint")
        if written is not None and written != space.fingerprint:
            raise ExportError(
                "the search space is not the one that was searched",
                where=str(run.run_json_path), expected=written, got=space.fingerprint,
            )  # fmt: skip
        return space.image_size, space.image_size
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise ExportError(
            "image_size must be a number of pixels", where=str(run.run_json_path), got=side
        )
    return side, side


def _is_run(spec: str) -> bool:
    return (Path(spec) / "run.json").is_file()


def _has_architecture(spec: str) -> bool:
    return (Path(spec) / "architecture.yaml").is_file()
