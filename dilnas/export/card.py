"""README.md, the card: what an export is, costs and comes from, and what it is not.

In the form of the Hugging Face Hub, so that the folder can be uploaded as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from dilnas.export.card_formats import escaped, files_section, front_matter, load_section
from dilnas.export.source import Source
from dilnas.records import Profile

if TYPE_CHECKING:
    from dilnas.export.training import Training
    from dilnas.train import Trained

__all__ = ["card_markdown"]

SETTINGS = (
    "command", "space", "space_fingerprint", "image_size", "budgets", "objectives", "data",
    "data_fingerprint", "proxy", "sampler", "trials", "time_limit", "seed", "versions", "created",
)  # fmt: skip
"""Settings of run.json that a card repeats, in this order, where the search wrote them. Not the
storage: its URL may hold a password."""


DATA_NOTES = {"embedded": " (a balanced subset of Fashion-MNIST)"}

SCORED_IMAGES = {"embedded": 2000}
"""Images of the val split, and as many of the test split, where that is a constant."""


def card_markdown(
    source: Source,
    profile: Profile,
    trained: Trained | None,
    *,
    files: Collection[str] = (),
    weights: str | None = None,
    training: Training | None = None,
) -> str:
    """Text of the card.

    Args:
        source: what is exported.
        profile: its cost and latency.
        trained: what the search trained for this candidate, or None.
        files: what the folder holds, but for the card.
        weights: name of the file that the network's trained weights are from, or None.
        training: how these were trained, where that is known.
    """
    size = (profile.cost.height, profile.cost.width)
    sections = [
        _head(source, profile),
        _full_weights(files, weights, training),
        _weights(source, trained),
        _cost(profile),
        _measured(profile),
        _provenance(source),
        f"## Files\n\n{_table(('file', 'what it is'), files_section(files))}",
        load_section(source.architecture, files, size),
    ]
    text = "\n".join(f"{section.strip()}\n" for section in sections if section)
    head = front_matter(source.name, source.architecture, files, training)
    return head + "\n" + text.replace("\n\n\n", "\n\n")


def _head(source: Source, profile: Profile) -> str:
    a, cost = source.architecture, profile.cost
    rows = [
        ("layout (D = MSDA, G = global attention)", a.layout),
        ("widths", _joined(stage.dim for stage in a.stages)),
        ("heads", _joined(stage.num_heads for stage in a.stages)),
        ("windows of MSDA", _joined(stage.window_size or "–" for stage in a.stages)),
        ("dilations of MSDA", _joined(list(stage.dilations) or "–" for stage in a.stages)),
        ("MLP ratios", _joined(f"{stage.mlp_ratio:g}" for stage in a.stages)),
        ("stem, downsampling, position", f"{a.stem}, {a.downsample}, {a.pos_embed}"),
        ("input channels, classes", f"{a.in_chans}, {a.num_classes or 'none'}"),
        ("parameters", f"{cost.params:,} ({cost.params / 1e6:.3f} M)"),
        (f"GFLOPs at {cost.height} x {cost.width}", f"{cost.flops / 1e9:.4g}"),
        *_against_tiny(source, profile),
        ("weights and live activations, one image, fp32", f"{cost.memory_bytes() / 1e6:.1f} MB"),
        ("key", f"`{a.key}`"),
    ]
    notes = "".join(f"\nNote: {note}\n" for note in profile.notes)
    return (
        f"# {escaped(source.name)}: a DilateFormer, {a.layout}\n\n{_table(('', ''), rows)}{notes}"
    )


def _against_tiny(source: Source, profile: Profile) -> list[tuple[str, str]]:
    """How its cost compares with that of DilateFormer-Tiny at the same image size."""
    from dilnas.cost import cost
    from dilnas.variants import VARIANTS

    tiny, own = VARIANTS["tiny"], profile.cost
    if source.architecture == tiny or own.height % tiny.stride or own.width % tiny.stride:
        return []
    other = cost(tiny, own.height, own.width)
    flops, params = own.flops / other.flops, own.params / other.params
    return [
        ("against the paper's Tiny", f"{flops:.1%} of its FLOPs, {params:.1%} of its parameters")
    ]


def _full_weights(files: Collection[str], weights: str | None, training: Training | None) -> str:
    """What weights there are of the full network."""
    if weights is not None:
        known = ""
        if training is not None and training.top1 is not None:
            images = f"{training.images:,}" if training.images else "its"
            known = (
                f" Their top-1 accuracy on {images} validation images is {training.top1:.2%}, as"
                " the training's `train.json` has it; the export did not measure it."
            )
        prepared = ""
        if training is not None:
            mean, std = (_rounded(values) for values in (training.mean, training.std))
            prepared = f" Images in 0..1, less the mean {mean}, over {std}."
        return (
            f"## Weights\n\nThe trained weights are those of {escaped(weights)}.{known}{prepared}\n"
        )
    holding = [f"`{name}`" for name in ("model.onnx", "model.pt2") if name in files]
    if not holding:
        return (
            "## Weights\n\nNone for this network, so its costs here are exact and its accuracy is"
            " not known. Train it with `recipe.yaml`.\n"
        )
    return (
        f"## Untrained\n\n**{_joined(holding)}: fresh random weights. The outputs are noise**,"
        " good for measuring speed and for trying a tool chain, and for nothing else. Train the"
        " network and export it again with `--weights`.\n"
    )


def _weights(source: Source, trained: Trained | None) -> str:
    if trained is None and source.run is None:
        return ""  # a variant or a file: nobody searched
    if trained is None or trained.diverged:
        why = "The proxy's training diverged, so" if trained else "Nothing was trained:"
        return (
            f"## Proxy\n\nNone. {why} there are costs here, exact ones, and no accuracy of a"
            " search.\n"
        )
    full, proxy = source.architecture, trained.architecture
    side = trained.proxy.image_size
    lines = [
        "## Proxy: what the search trained, not this network\n",
        "The search left the full network of `architecture.yaml` **untrained**.",
        "The search trained a stand-in (a proxy) to compare candidates with, and"
        " `proxy/model.safetensors` holds the average of *its* weights along the training:\n",
        _table(
            ("", "full network", "proxy"),
            [
                ("widths", *(_joined(s.dim for s in a.stages) for a in (full, proxy))),
                ("layout", full.layout, proxy.layout),
                ("classes", str(full.num_classes), str(proxy.num_classes)),
                ("input channels", str(full.in_chans), str(proxy.in_chans)),
            ],
        ),
        f"**Proxy accuracy** at {side} x {side} px on {_data_name(source)},"
        f" {_seen(trained)}: {_accuracy(source, trained)}.",
        *_noise(source, trained),
        "These are proxy accuracies. They rank the candidates of one search; they say nothing of"
        " what the full network reaches after full training.\n",
        f"Input of the proxy: (B, {proxy.in_chans}, {side}, {side}), pixels 0..255 less the mean"
        f" {_rounded(trained.mean)}, over the standard deviation {_rounded(trained.std)}.\n",
    ]
    return "\n".join(lines)


def _seen(trained: Trained) -> str:
    last = trained.results[-1]
    finished = "" if last.rung + 1 == trained.proxy.rungs else ", stopped early"
    rungs = f"rung {last.rung + 1} of {trained.proxy.rungs}"
    return f"after {last.images_seen:,} images (proxy `{trained.proxy.name}`, {rungs}{finished})"


def _accuracy(source: Source, trained: Trained) -> str:
    row = source.pick.row if source.pick else {}
    text = f"validation {trained.results[-1].val_accuracy:.2%}"
    test = row.get("test_accuracy")
    tested = isinstance(test, int | float)
    text += f", test {test:.2%}" if tested else "; not evaluated on the test split"
    mean, seeds = row.get("final_accuracy"), row.get("final_seeds")
    if not isinstance(mean, int | float):
        return text
    std, test = row.get("final_std"), row.get("final_test_accuracy")
    scatter = f" (standard deviation {std:.2%})" if isinstance(std, int | float) else ""
    again = f", test {test:.2%}" if isinstance(test, int | float) else ""
    return f"{text}. Trained again with {seeds} other seeds: validation {mean:.2%}{scatter}{again}"


def _noise(source: Source, trained: Trained) -> list[str]:
    """How exact the accuracy is: the binomial standard error sqrt(p (1 - p) / n)."""
    images = SCORED_IMAGES.get(str(source.settings.get("data")))
    if images is None:
        return []
    share = trained.results[-1].val_accuracy
    error = math.sqrt(share * (1 - share) / images)
    row = source.pick.row if source.pick else {}
    known = isinstance(row.get("final_std"), int | float)
    seeds = "" if known else ": one seed was trained"
    return [
        f"One standard error is {error * 100:.1f} points ({images:,} images), without the scatter"
        f" between training seeds{seeds}."
    ]


def _cost(profile: Profile) -> str:
    cost = profile.cost
    places = 3 if cost.flops >= 1e8 else 6  # a smoke network has a hundredth of a GFLOP
    rows = [
        (
            row.name, f"{row.params / 1e6:.3f}", f"{row.flops / 1e9:.{places}f}",
            f"{row.flops / cost.flops:.1%}", f"{row.height} x {row.width}",
        )
        for row in cost.stage_rows()
    ]  # fmt: skip
    rows.append(
        ("total", f"{cost.params / 1e6:.3f}", f"{cost.flops / 1e9:.{places}f}", "100.0%", "")
    )
    head = ("part", "parameters (M)", "GFLOPs", "share", "output")
    return (
        f"## Cost of one {cost.height} x {cost.width} image\n\n{_table(head, rows)}"
        "GFLOPs as the paper and fvcore count them: one multiply-add is 1, norm terms included"
        f" ({cost.macs / 1e9:.4g} G multiply-adds alone). Exact, from a closed form.\n"
    )


def _measured(profile: Profile) -> str:
    m, work, where = profile.measurement, profile.workload, profile.environment
    if m is None or where is None:
        return ""
    doubts = "".join(f"\nDoubtful: {doubt}.\n" for doubt in m.doubts)
    return (
        f"## Latency\n\nMedian {m.median * 1e3:.2f} ms, 95th percentile"
        f" {m.percentile(95) * 1e3:.2f} ms for a batch of {work.batch_size} at {work.height} x"
        f" {work.width}, {work.dtype}, on {where.device_name} (torch {where.torch},"
        f" {len(m.samples)} samples). All samples are in `profile.json`.\n{doubts}"
    )


def _provenance(source: Source) -> str:
    if source.run is None or source.pick is None:
        return ""
    rows = [("candidate", escaped(f"{source.name}, {source.pick.reason}"))]
    rows += [
        (name, f"`{_plain(source.settings[name])}`")
        for name in SETTINGS
        if source.settings.get(name) not in (None, {}, [])
    ]
    return f"## Where it comes from\n\n{_table(('', ''), rows)}"


def _data_name(source: Source) -> str:
    data = source.settings.get("data")
    if data is None:
        return "the search's data"
    return f"`{_plain(data)}`{DATA_NOTES.get(str(data), '')}"


def _rounded(values: Iterable[float]) -> str:
    return _joined(f"{value:.4g}" for value in values)


def _joined(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _plain(value: object) -> str:
    """One line that cannot break out of a code span or a table cell."""
    if isinstance(value, dict):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    elif isinstance(value, list):
        value = ", ".join(str(v) for v in value)
    return " ".join(str(value).replace("`", "'").replace("|", "/").split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(row) for row in rows]
    return "".join(f"| {line} |\n" for line in lines) + "\n"
