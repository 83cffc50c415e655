"""``dilnas train``: an architecture trained in full, by the paper's recipe or one's own."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dilnas.train import TrainingResult

__all__ = ["train"]

INTERRUPTED = 130
YOUNG_EMA = 0.05
"""With more than this share of the first weights in it, an average says little."""


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="An exported folder, an architecture file, a variant (tiny, small, base), RUN#N.",
            show_default=False,
        ),
    ],
    *,
    data: Annotated[
        str,
        typer.Option(
            help="embedded, fashion-mnist, a folder (class folders, IDX, CIFAR, .tar shards), a "
            "pattern of shards, or hf:PATH."
        ),
    ] = "embedded",
    val: Annotated[
        str | None, typer.Option(help="Shards to validate on, as a pattern.", show_default=False)
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of timm's argument names (default: CONFIG/recipe.yaml, else the"
            " paper's).",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Instead of the recipe's; its warm-up shrinks along.", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images of an update, of all workers together; the rate goes with it.",
            show_default=False,
        ),
    ] = None,
    accumulate: Annotated[int, typer.Option(help="Micro-steps that make an update.")] = 1,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate as it is.", show_default=False)
    ] = None,
    img_size: Annotated[
        int | None, typer.Option(help="Side in pixels (default: the recipe's).", show_default=False)
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(help="Refuse data with another number of classes.", show_default=False),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint to start from: dilnas's, timm's or the authors'.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    amp: Annotated[
        str, typer.Option(help="auto (the recipe's on a GPU, none on a CPU), none, bf16, fp16.")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that train together (default: one a GPU, else one).",
            show_default=False,
        ),
    ] = None,
    loaders: Annotated[
        int | None,
        typer.Option(
            help="Processes that load images, for each worker (default: from the cores).",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda (default: cuda where there is one).", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a running Ray cluster that shares this file system.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Take the next image in place of one that cannot be read."
        ),
    ] = False,
    save_every: Annotated[
        str, typer.Option(help="Time between two states within an epoch: 90s, 10m, 1h.")
    ] = "10m",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The training's folder (default: trainings/NAME-DATA).",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The result as one JSON document on stdout.")
    ] = False,
) -> None:
    """Train an architecture in full, by the paper's recipe unless another is given.

    The same command goes on where it stopped or was killed, and does nothing when it had finished.

    \b
    Examples:
      dilnas train exports/NAME --data /data/imagenet
      dilnas train tiny --data photos/ --finetune tiny.pth --img-size 384
      dilnas train small --data "shards/{000..146}.tar" --batch-size 1024
      dilnas train tiny --epochs 2 --batch-size 64 --workers 2
    """  # fmt: skip
    from dilnas.cli.options import seconds_of
    from dilnas.cli.train_screen import TrainScreen
    from dilnas.train import full_training

    with TrainScreen() as screen:
        screen.waiting(f"reading {data}")
        result = full_training(
            config, data=data, val=val, recipe=recipe, out=out, epochs=epochs,
            batch_size=batch_size, accumulate=accumulate, lr=lr, img_size=img_size,
            num_classes=num_classes, workers=workers, loaders=loaders, device=device, amp=amp,
            seed=seed, finetune=finetune, skip_corrupt=skip_corrupt,
            save_every=seconds_of(save_every, "--save-every") or 0.0, address=address,
            on_event=screen.show,
        )  # fmt: skip
    print(json.dumps(_document(result), allow_nan=False) if as_json else _summary(result))
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def _summary(result: TrainingResult) -> str:
    """What came of it, where it lies, and the next commands."""
    from dilnas.cli.train_screen import duration

    folder = _short(result.directory)
    lines = []
    if result.best is not None:
        last = result.rows[-1]
        lines.append(
            f"best: top-1 {result.best['top1'] * 100:.2f} %, top-5 {result.best['top5'] * 100:.2f}"
            f" %, after epoch {result.best['epoch']:.0f}; last: top-1 {last.val_top1 * 100:.2f} %,"
            f" after epoch {last.epoch}"
        )
        lines += _about_average(result)
        lines.append(
            f"trained for {duration(last.seconds)}, {last.images_per_s:,.0f} images/s in the last"
            " epoch"
        )
    if result.skipped:
        lines.append(f"{result.skipped} images could not be read; others stood in for them")
    if result.interrupted:
        lines.append(
            f"interrupted after {len(result.rows)} epochs, the state is saved; give the same"
            " command to go on"
        )
        return "\n".join(lines)
    names = sorted(path.name for path in result.directory.glob("*.safetensors"))
    lines.append(f"{folder}: {', '.join([*names, 'log.csv', 'train.json'])}")
    here, network = shlex.quote(str(folder)), shlex.quote(str(folder / "architecture.yaml"))
    weights = shlex.quote(str(folder / "best.safetensors"))
    lines.append(f"next: dilnas profile {network}")
    lines.append(f"      dilnas export {here} --weights {weights} --format onnx")
    return "\n".join(lines)


def _about_average(result: TrainingResult) -> list[str]:
    last = result.rows[-1]
    if last.ema_top1 is None or last.ema_top5 is None:
        return []
    text = f"EMA: top-1 {last.ema_top1 * 100:.2f} %, top-5 {last.ema_top5 * 100:.2f} %, at the end"
    if result.ema_share is not None and result.ema_share > YOUNG_EMA:
        text += f"; {result.ema_share:.0%} of it still are the first weights: too few updates"
    return [text]


def _document(result: TrainingResult) -> dict[str, Any]:
    return {
        "dilnas_train": 1,
        "directory": str(result.directory),
        "name": result.name,
        "interrupted": result.interrupted,
        "trained": result.trained,
        "best": result.best,
        "skipped": result.skipped,
        "ema_share_of_first_weights": result.ema_share,
        "epochs": [asdict(row) for row in result.rows],
    }


def _short(path: Path) -> Path:
    """Relative to the present folder where it lies below it."""
    here = Path(os.path.realpath(Path.cwd()))
    return path.relative_to(here) if path.is_relative_to(here) else path
