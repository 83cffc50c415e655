"""``config.json``: what ``timm.create_model("local-dir:DIR")`` and the Hugging Face Hub read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dilnas.errors import ExportError
from dilnas.export.checks import compare_outputs
from dilnas.export.network import FullNetwork
from dilnas.export.training import Training
from dilnas.files import write_atomic

__all__ = ["write_timm"]


def write_timm(
    network: FullNetwork, folder: Path, size: tuple[int, int], training: Training | None
) -> str:
    """Write ``config.json``, create the model from the folder by timm and compare.

    ``size`` is the image's (height, width); ``training`` tells how images are prepared.

    ``folder`` holds ``model.safetensors`` already if the weights are trained; fresh ones are not
    written, so that ``pretrained=True`` fails instead of giving noise.

    Returns what was checked as a sentence. Raises ExportError.
    """
    import timm

    import dilnas.timm_models  # noqa: F401 - importing registers

    architecture = network.model.architecture
    text = json.dumps(_config(network, size, training), indent=1) + "\n"
    write_atomic(folder / "config.json", text, kind=ExportError)
    trained = network.weights is not None
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=trained)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ExportError(
            f"timm cannot create the model: {' '.join(str(error).split())}", where="config.json",
            expected="timm 1.0.16 or newer", got=timm.__version__,
        ) from error  # fmt: skip
    if not trained:
        model.load_state_dict(network.model.state_dict())
    stride = architecture.stride
    sizes = [(1, stride, 2 * stride), (3, 2 * stride, stride)]
    result = compare_outputs("timm's model", network.model, model.eval(), sizes)
    what = " with model.safetensors" if trained else ""
    return f"config.json: created by timm {timm.__version__}{what}, {result}"


def _config(
    network: FullNetwork, size: tuple[int, int], training: Training | None
) -> dict[str, Any]:
    """The Hub's form for timm: everything that creates the model and prepares its images."""
    from dilnas.timm_models import pretrained_cfg

    architecture = network.model.architecture
    cfg = pretrained_cfg(architecture, size)
    if training is not None:
        cfg.update(training.pretrained_cfg())
    return {
        "architecture": "dilateformer",
        "num_classes": cfg.pop("num_classes"),
        "num_features": architecture.stages[-1].dim,
        "global_pool": "avg",
        "model_args": {"architecture": architecture.to_dict()},
        "pretrained_cfg": cfg,
        "dilnas": {
            "key": architecture.key, "weights": network.label, "import": "dilnas.timm_models",
        },
    }  # fmt: skip
