"""``export``: one architecture, out of a run, as a folder that somebody else can train from.

    DIR/architecture.yaml          the full network, as searched
    DIR/recipe.yaml                the paper's recipe for training it
    DIR/card.md                    what it is, costs and comes from; how to load it
    DIR/profile.json               its cost and, unless left out, its latency on this device
    DIR/proxy/architecture.yaml    what the search really trained (narrower, other classes)
    DIR/proxy/model.safetensors    the weights of that

Everything is written beside DIR, loaded back and compared with its source, and moved into place
last: DIR is there whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.export.card import card_markdown
from dilnas.export.checks import check_architecture, check_weights
from dilnas.export.folder import check_target, staged_folder
from dilnas.export.recipe import recipe_yaml
from dilnas.export.source import Source, find_source
from dilnas.files import write_atomic
from dilnas.records import Profile, profile_dict
from dilnas.sizes import plain_size

if TYPE_CHECKING:
    from dilnas.train import Trained

__all__ = ["ExportResult", "export"]

OWNED = ("architecture.yaml", "card.md", "profile.json", "proxy", "recipe.yaml")
"""What an export writes: ``force`` replaces a folder of these and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        directory: the folder, absolute.
        name: RUN#N, variant or file name.
        trial: number of the candidate; None if it comes from no run.
        architecture: the full network.
        proxy: what was trained; None if nothing was.
        profile: cost, and latency unless left out.
        files: size in bytes by path below ``directory``.
        checks: what was loaded back and compared, a sentence each.
    """

    directory: Path
    name: str
    trial: int | None
    architecture: Architecture
    proxy: Architecture | None
    profile: Profile
    files: dict[str, int]
    checks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for ``--json``."""
        return {
            "dilnas_export": 1,
            "directory": str(self.directory),
            "name": self.name,
            "trial": self.trial,
            "key": self.architecture.key,
            "layout": self.architecture.layout,
            "params": self.profile.cost.params,
            "flops": self.profile.cost.flops,
            "image_size": plain_size((self.profile.cost.height, self.profile.cost.width)),
            "trained_proxy": self.proxy.to_dict() if self.proxy else None,
            "files_bytes": self.files,
            "checks": list(self.checks),
        }


def export(
    run: str | os.PathLike[str],
    pick: str | int | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    latency: bool = True,
    device: str | None = None,
    force: bool = False,
    on_progress: Callable[[str, float], None] | None = None,
) -> ExportResult:
    """Write one architecture to a folder, load it back, compare, and say what was written.

    Args:
        run: a run directory, ``RUN#N``, a variant's name or an architecture file.
        pick: "knee", "best" or a trial number; None is the N of ``RUN#N``, else "knee".
        out: a new or empty folder; None: ``exports/<run name>-<pick>``.
        latency: also measure latency and memory on ``device`` (None: cuda if there is one).
        device: "cpu", "cuda", "cuda:N".
        force: replace an earlier export in ``out``; other folders are never replaced.
        on_progress: told what is measured, as in ``dilnas.measure.profile``.

    Raises ExportError, RunError, ArchitectureError, CheckpointError or DeviceError; then nothing
    is left behind and ``out`` is as it was.
    """
    source = find_source(os.fspath(run), None if pick is None else str(pick))
    given = Path("exports") / source.slug if out is None else out
    target = check_target(given, OWNED, force=force)
    trained = _trained(source)
    with staged_folder(target) as folder:
        checks = _write_networks(source, trained, folder)
        measured = _profile(source, latency=latency, device=device, on_progress=on_progress)
        _write(folder / "profile.json", json.dumps(profile_dict(measured), indent=1) + "\n")
        _write(folder / "recipe.yaml", recipe_yaml(source.architecture))
        _write(folder / "card.md", card_markdown(source, measured, trained))
        files = {
            str(path.relative_to(folder)): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return ExportResult(
        directory=target,
        name=source.name,
        trial=source.pick.trial if source.pick else None,
        architecture=source.architecture,
        proxy=trained.architecture if "proxy/model.safetensors" in files and trained else None,
        profile=measured,
        files=files,
        checks=tuple(checks),
    )


def _write_networks(source: Source, trained: Trained | None, folder: Path) -> list[str]:
    """Write and check architecture.yaml and, where something was trained, proxy/."""
    path = folder / "architecture.yaml"
    _write(path, source.architecture.to_yaml())
    checks = [check_architecture(path, source.architecture)]
    if trained is None or trained.diverged:
        return checks
    from dilnas.model import save_weights

    proxy = folder / "proxy"
    proxy.mkdir()
    _write(proxy / "architecture.yaml", trained.architecture.to_yaml())
    checks.append(check_architecture(proxy / "architecture.yaml", trained.architecture))
    save_weights(trained.model, proxy / "model.safetensors")
    checks.append(check_weights(proxy, trained.model, trained.architecture))
    return checks


def _trained(source: Source) -> Trained | None:
    """What the run trained for this candidate; None if nothing. Raises ExportError if foreign."""
    directory = source.trial_directory
    if directory is None or not directory.is_dir():
        return None
    from dilnas.train import trained_model

    trained = trained_model(directory)
    if trained is not None and trained.source_key != source.architecture.key:
        raise ExportError(
            "the checkpoint is of another architecture", where=str(directory),
            expected=source.architecture.key, got=trained.source_key,
        )  # fmt: skip
    return trained


def _profile(
    source: Source,
    *,
    latency: bool,
    device: str | None,
    on_progress: Callable[[str, float], None] | None,
) -> Profile:
    from dilnas.measure import profile

    measured = profile(
        source.architecture,
        device=device,
        img_size=source.image_size,
        latency=latency,
        on_progress=on_progress,
    )
    return replace_fields(measured, name=source.name)


def _write(path: Path, text: str) -> None:
    write_atomic(path, text, kind=ExportError)
