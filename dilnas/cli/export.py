"""``dilnas export``: one architecture out of a run, as a folder to train and run from."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dilnas.export import ExportResult

__all__ = ["export"]


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run directory, RUN#N for its candidate N, a variant (tiny, small, base) or an"
            " architecture file.",
            show_default=False,
        ),
    ],
    *,
    pick: Annotated[
        str | None,
        typer.Option(
            help="knee (where more cost stops buying much accuracy), best (the most accurate of"
            " the front) or a trial number (default: knee).",
            metavar="knee|best|N",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="yaml (always written), timm, onnx, export (torch.export), python (one file);"
            " several with commas or by repeating it.",
            metavar="FORMAT[,…]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Trained weights of the full network: safetensors, or a checkpoint of dilnas, timm"
            " or the authors (default: untrained).",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            help="Outputs of the classifier (default: the architecture's own).",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    img_size: Annotated[
        str | None,
        typer.Option(
            help="Side or HEIGHTxWIDTH of the images it is for (default: as searched).",
            metavar="SIZE",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new or empty folder (default: exports/RUN-PICK).",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Measure latency and memory here too.")
    ] = True,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or cuda:N (default: cuda where there is one).", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Write one architecture to a folder: a recipe, a card, and for timm, ONNX or PyTorch alone.

    Everything is loaded back and compared with its source first; the folder is there whole or
    not at all.

    \b
    Examples:
      dilnas export runs/NAME --pick knee
      dilnas export runs/NAME --pick 12 --out my-network --no-latency
      dilnas export tiny --format timm,onnx,export,python --no-latency
      dilnas export tiny --weights best.safetensors --num-classes 10 --format onnx
    """
    from dilnas.cli.profile_options import image_sides
    from dilnas.export import export as write_export

    result = write_export(
        run,
        pick,
        formats=form or "yaml",
        weights=weights,
        num_classes=num_classes,
        img_size=None if img_size is None else image_sides(img_size),
        out=out,
        latency=latency,
        device=device,
        force=force,
        on_step=_say,
    )
    print(json.dumps(result.to_dict(), indent=1) if as_json else _summary(result))


def _say(step: str) -> None:
    """Conversions take from seconds to two minutes each."""
    sys.stderr.write(f"{step} …\n")
    sys.stderr.flush()


def _summary(result: ExportResult) -> str:
    """What was written with sizes, the checks done, and the next command."""
    cost = result.profile.cost
    shown = _short(result.directory)
    lines = [
        f"{result.name}: {result.architecture.layout}, {cost.params / 1e6:.3f} M parameters,"
        f" {cost.flops / 1e9:.4g} GFLOPs at {cost.height} x {cost.width}",
        f"written to {shown}:",
    ]
    width = max(map(len, result.files))
    lines += [f"  {name:<{width}}  {_size(size):>9}" for name, size in result.files.items()]
    lines += ["checked:", *(f"  {check}" for check in result.checks)]
    if (m := result.profile.measurement) is not None:
        lines.append(
            f"latency: median {m.median * 1e3:.2f} ms, p95 {m.percentile(95) * 1e3:.2f} ms"
        )
    if result.weights is None and {"model.onnx", "model.pt2"} & result.files.keys():
        lines.append("UNTRAINED: the network has fresh random weights; --weights gives it others")
    if result.proxy is not None:
        lines.append("the weights in proxy/ are those of the search's small proxy; see README.md")
    card = shlex.quote(str(shown / "README.md"))
    network = shlex.quote(str(shown / "architecture.yaml"))
    size = f"{cost.height}x{cost.width}"
    at = "" if size == "224x224" else f" --img-size {size}"
    lines.append(f"next: read {card}, or: dilnas profile {network}{at}")
    return "\n".join(lines)


def _short(path: Path) -> Path:
    """Relative to the present folder where it lies below it."""
    here = Path(os.path.realpath(Path.cwd()))
    return path.relative_to(here) if path.is_relative_to(here) else path


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1_000_000 else f"{size / 1e3:.1f} kB"
