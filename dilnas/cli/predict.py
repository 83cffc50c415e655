"""``dilnas predict``: latency and memory of architectures, without running them."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["predict"]


def predict(
    architectures: Annotated[
        list[str],
        typer.Argument(
            metavar="ARCH...",
            help="tiny, small, base, architecture files, or RUN#N.",
            show_default=False,
        ),
    ],
    *,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A calibration: DEVICE/NAME under profiles/, or its file.",
            show_default=False,
        ),
    ],
    optimizer: Annotated[
        str, typer.Option(help="Whose states a training step holds: adamw, sgd or none.")
    ] = "adamw",
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, the table on stderr.")
    ] = False,
) -> None:
    """Latency and memory of architectures, without running them.

    Latency is predicted by a calibration (dilnas calibrate) and comes with its interval. Memory is
    a closed form of the tensors. A network unlike those that were measured is refused.

    \b
    Examples:
      dilnas predict tiny base --profile amd-epyc/dilateformer-b8-224-fp32-t2
      dilnas predict runs/first#12 mine.yaml --profile mine.json --json
    """
    from dilnas.cli.progress import console
    from dilnas.predict import LatencyPredictor
    from dilnas.predict.forecasts import forecast
    from dilnas.report.predicted import forecasts_json, forecasts_view
    from dilnas.runs import resolve

    found = [resolve(spec) for spec in architectures]
    predictor = LatencyPredictor.load(profile)
    rows = [forecast(name, network, predictor, optimizer=optimizer) for name, network in found]
    console(stderr=json).print(forecasts_view(rows, predictor))
    if json:
        print(forecasts_json(rows, predictor), flush=True)
