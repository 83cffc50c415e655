"""``export``: one architecture, out of a run, as a folder that somebody else can train from.

    DIR/architecture.yaml          the full network, as searched
    DIR/recipe.yaml                the paper's recipe for training it
    DIR/README.md                  what it is, costs and comes from; how to load it
    DIR/profile.json               its cost and, unless left out, its latency on this device
    DIR/proxy/architecture.yaml    what the search really trained (narrower, other classes)
    DIR/proxy/model.safetensors    the weights of that
    DIR/model.safetensors          trained weights of the full network, where they are given
    DIR/config.json, model.onnx, model.pt2, model.py    the formats that are asked for

Everything is written beside DIR, loaded back and compared with its source, and moved into place
last: DIR is there whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import ExportError
from dilnas.export.card import card_markdown
from dilnas.export.checks import check_architecture, check_weights
from dilnas.export.folder import check_target, staged_folder
from dilnas.export.formats import parse_formats, require
from dilnas.export.network import FullNetwork, full_network
from dilnas.export.recipe import recipe_yaml
from dilnas.export.source import Source, find_source
from dilnas.export.training import Training, training_beside
from dilnas.files import write_atomic
from dilnas.records import Profile, profile_dict
from dilnas.sizes import plain_size

if TYPE_CHECKING:
    from dilnas.train import Trained

__all__ = ["ExportResult", "export"]

OWNED = (
    "README.md", "architecture.yaml", "card.md", "config.json", "model.onnx", "model.onnx.data",
    "model.pt2", "model.py", "model.safetensors", "profile.json", "proxy", "recipe.yaml",
)  # fmt: skip
"""What an export writes, or once wrote: ``force`` replaces a folder of these and nothing else."""

CARD = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        directory: the folder, absolute.
        name: RUN#N, variant or file name.
        trial: number of the candidate; None if it comes from no run.
        architecture: the full network.
        formats: what was asked for, "yaml" first.
        weights: name of the file that the network's weights are from; None: untrained.
        proxy: what was trained; None if nothing was.
        profile: cost, and latency unless left out.
        files: size in bytes by path below ``directory``.
        checks: what was loaded back and compared, a sentence each.
    """

    directory: Path
    name: str
    trial: int | None
    architecture: Architecture
    formats: tuple[str, ...]
    weights: str | None
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
            "formats": list(self.formats),
            "weights": self.weights,
            "trained_proxy": self.proxy.to_dict() if self.proxy else None,
            "files_bytes": self.files,
            "checks": list(self.checks),
        }


def export(
    run: str | os.PathLike[str],
    pick: str | int | None = None,
    *,
    formats: str | Sequence[str] = "yaml",
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    img_size: tuple[int, int] | None = None,
    out: str | os.PathLike[str] | None = None,
    latency: bool = True,
    device: str | None = None,
    force: bool = False,
    on_progress: Callable[[str, float], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> ExportResult:
    """Write one architecture to a folder, load it back, compare, and say what was written.

    Args:
        run: a run directory, ``RUN#N``, a variant's name, an architecture file or a folder.
        pick: "knee", "best" or a trial number; None is the N of ``RUN#N``, else "knee".
        formats: "yaml", "timm", "onnx", "export", "python": words or a comma list.
        weights: trained weights of the full network: safetensors, or a torch file with a state
            dict. None: what holds weights holds fresh ones and says so.
        num_classes: outputs instead of the architecture's own.
        img_size: (height, width) in pixels instead of the size it was searched for.
        out: a new or empty folder; None: ``exports/<run name>-<pick>``.
        latency: also measure latency and memory on ``device`` (None: cuda if there is one).
        device: "cpu", "cuda", "cuda:N".
        force: replace an earlier export in ``out``; other folders are never replaced.
        on_progress: told what is measured, as in ``dilnas.measure.profile``.
        on_step: told what takes long otherwise, before it begins.

    Raises ExportError, RunError, ArchitectureError, CheckpointError, DependencyError, InputError
    or DeviceError; then nothing is left behind and ``out`` is as it was.
    """
    wanted = parse_formats(formats)
    require(wanted)
    source = find_source(os.fspath(run), None if pick is None else str(pick))
    given = Path("exports") / source.slug if out is None else out
    target = check_target(given, OWNED, force=force)
    trained = _trained(source)
    source = _adapted(source, num_classes, img_size)
    training = training_beside(weights, source.architecture.in_chans)
    network = None
    if weights is not None or len(wanted) > 1:
        network = full_network(source.architecture, weights)
    with staged_folder(target) as folder:
        checks = _write_networks(source, trained, folder)
        measured = _profile(source, latency=latency, device=device, on_progress=on_progress)
        size = (measured.cost.height, measured.cost.width)
        if network is not None:
            checks += _write_formats(
                network, source, folder,
                formats=wanted, size=size, training=training, on_step=on_step,
            )  # fmt: skip
        _write(folder / "profile.json", json.dumps(profile_dict(measured), indent=1) + "\n")
        _write(folder / "recipe.yaml", recipe_yaml(source.architecture, img_size))
        card = card_markdown(
            source, measured, trained, files=_files(folder),
            weights=network.weights if network else None, training=training,
        )  # fmt: skip
        _write(folder / CARD, card)
        files = _files(folder)
    return ExportResult(
        directory=target,
        name=source.name,
        trial=source.pick.trial if source.pick else None,
        architecture=source.architecture,
        formats=wanted,
        weights=network.weights if network else None,
        proxy=trained.architecture if "proxy/model.safetensors" in files and trained else None,
        profile=measured,
        files=files,
        checks=tuple(checks),
    )


def _files(folder: Path) -> dict[str, int]:
    """Size in bytes by path below ``folder``."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _adapted(source: Source, num_classes: int | None, img_size: tuple[int, int] | None) -> Source:
    """The source with the classes and the image size that are asked for."""
    architecture, size = source.architecture, source.image_size
    if num_classes is not None:
        architecture = architecture.replace(num_classes=num_classes)
    if img_size is not None:
        architecture.check_input(*img_size, where="--img-size")
        size = img_size
    return replace_fields(source, architecture=architecture, image_size=size)


def _write_formats(
    network: FullNetwork,
    source: Source,
    folder: Path,
    *,
    formats: tuple[str, ...],
    size: tuple[int, int],
    training: Training | None,
    on_step: Callable[[str], None] | None,
) -> list[str]:
    """Write and check the trained weights and each format; sentences of what was checked."""
    from dilnas.export.program import write_onnx, write_program
    from dilnas.export.python_file import write_python
    from dilnas.export.timm_folder import write_timm

    checks = []
    if network.weights is not None:
        from dilnas.model import save_weights

        name = "model.safetensors"
        save_weights(network.model, folder / name)
        checks.append(check_weights(folder, network.model, source.architecture, name))
    writers: dict[str, tuple[str, Callable[[], str]]] = {
        "timm": ("config.json, for timm", lambda: write_timm(network, folder, size, training)),
        "onnx": ("model.onnx, and running it", lambda: write_onnx(network, folder)),
        "export": ("model.pt2, and loading it", lambda: write_program(network, folder, size)),
        "python": ("model.py, and running it", lambda: write_python(network, folder, source.name)),
    }
    for form in formats:
        if form in writers:
            what, write = writers[form]
            if on_step is not None:
                on_step(f"writing {what}")
            checks.append(write())
    return checks


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
