"""The parts of a card that depend on what was exported: front matter, files, how to load."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture

if TYPE_CHECKING:
    from dilnas.export.training import Training

__all__ = ["escaped", "files_section", "front_matter", "load_section"]

MARKUP = re.compile(r"[\\`*\[\]<>&|~]")

FILES = {
    "architecture.yaml": "the full network",
    "recipe.yaml": "the paper's recipe, for timm's train script and dilnas; each line has a source",
    "profile.json": "cost by part, workload, environment, raw latency samples",
    "model.safetensors": "the network's trained weights",
    "config.json": "for timm: `local-dir:` and, uploaded, `hf-hub:`",
    "model.onnx": "for runtimes of ONNX: any batch and image size",
    "model.pt2": "the program of torch.export, for PyTorch without dilnas",
    "model.py": "the source in one file that needs PyTorch alone",
    "proxy/architecture.yaml": "what the search trained",
    "proxy/model.safetensors": "the weights of that",
}

LOAD = {
    "architecture.yaml": """\
The full network in dilnas, {state}:

```python
# run in this folder
from dilnas.model import build_model{more}
from dilnas.runs import load_architecture

network = build_model(load_architecture("architecture.yaml"), drop_path_rate=0.1)
{load}```
""",
    "config.json": """\
In timm:

```python
# run in this folder
import timm
import dilnas.timm_models  # registers the models

model = timm.create_model("local-dir:.", pretrained={trained}).eval()
```
""",
    "model.onnx": """\
With onnxruntime, without PyTorch:

```python
# run in this folder
import numpy
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = numpy.zeros((1, {chans}, {height}, {width}), "float32")
(outputs,) = session.run(None, {{"images": images}})
```
""",
    "model.pt2": """\
As a program of torch.export, without dilnas:

```python
# run in this folder
import torch

program = torch.export.load("model.pt2").module()
outputs = program(torch.zeros(1, {chans}, {height}, {width}))
```
""",
    "model.py": """\
As one file, without dilnas:

```python
# run in this folder
from model import build

alone = build({weights}).eval()
```
""",
    "proxy/model.safetensors": """\
The proxy with its weights:

```python
# run in this folder
from dilnas.model import build_model, load_checkpoint
from dilnas.runs import load_architecture

proxy = build_model(load_architecture("proxy/architecture.yaml"))
load_checkpoint(proxy, "proxy/model.safetensors")
proxy.eval()
```
""",
}
"""What loads a file, in the order in which the card shows them."""


def escaped(text: object) -> str:
    """``text`` on one line as Markdown shows it: no markup and no HTML of its own."""
    return MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))


def front_matter(
    name: str, architecture: Architecture, files: Collection[str], training: Training | None
) -> str:
    """The YAML head by which the Hugging Face Hub files a model. The license is the user's."""
    import yaml

    task = "image-classification" if architecture.num_classes else "image-feature-extraction"
    tags = ["dilateformer", "vision-transformer", "neural-architecture-search", "dilnas"]
    tags += [
        tag for tag, file in (("timm", "config.json"), ("onnx", "model.onnx")) if file in files
    ]
    data: dict[str, Any] = {
        "library_name": "timm" if "config.json" in files else "dilnas",
        "pipeline_tag": task,
        "tags": tags,
    }
    if training is not None and training.top1 is not None:
        metric = {
            "type": "accuracy",
            "name": "top-1, percent",
            "value": round(training.top1 * 100, 3),
        }
        result = {
            "task": {"type": task},
            "dataset": {"name": "the training's validation images", "type": "imagefolder"},
            "metrics": [metric],
        }
        data["metrics"] = ["accuracy"]
        data["model-index"] = [{"name": " ".join(name.split()), "results": [result]}]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return f"---\n{text}# license: yours to choose\n---\n"


def files_section(files: Collection[str]) -> list[tuple[str, str]]:
    """(file, what it is) of the files that are there, as rows of a table."""
    return [(f"`{name}`", what) for name, what in FILES.items() if name in files]


def load_section(architecture: Architecture, files: Collection[str], size: tuple[int, int]) -> str:
    """How to load each file that is there, as Python that runs in the folder."""
    trained = "model.safetensors" in files
    load = 'load_checkpoint(network, "model.safetensors")\n' if trained else ""
    values = {
        "state": "with its weights" if trained else "untrained",
        "more": ", load_checkpoint" if trained else "",
        "load": load,
        "trained": trained,
        "chans": architecture.in_chans,
        "height": size[0],
        "width": size[1],
        "weights": '"model.safetensors"' if trained else "",
    }
    shown = [text.format(**values) for name, text in LOAD.items() if name in files]
    return "## Load it\n\n" + "\n".join(shown)
