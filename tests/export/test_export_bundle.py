"""What a user finds in an exported folder, from a run whose candidates were really trained."""

import csv
import json
import re
import subprocess
import sys

import pytest
import torch

from dilnas.cost import cost
from dilnas.data import load_data
from dilnas.errors import CheckpointError, DilnasError, ExportError, InputError, RunError
from dilnas.export import export
from dilnas.export.checks import check_weights
from dilnas.model import build_model, load_checkpoint, save_weights
from dilnas.runs import RunDirectory, load_architecture, resolve
from dilnas.space import SearchSpace
from dilnas.train import proxy, train_to_rung, trained_model
from dilnas.variants import VARIANTS

PLAIN = ["README.md", "architecture.yaml", "profile.json", "recipe.yaml"]
TRAINED = sorted([*PLAIN, "proxy/architecture.yaml", "proxy/model.safetensors"])
ACCURACIES = {0: 0.30, 1: 0.42, 2: None, 3: 0.44}
"""By trial, rising with its cost; number 2 was rejected and never trained. Drawn, so that the knee
is known: only the checkpoint's own accuracy below is real."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: candidates 0, 1, 3 trained for a rung, 2 rejected, a reference row."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    space = SearchSpace.load("smoke")
    networks = [space.decode(code) for code in _rising_codes(space)]
    settings = proxy("smoke")
    splits = load_data("embedded", image_size=settings.image_size)
    rows = []
    for number, accuracy in ACCURACIES.items():
        trial = folder / "trials" / str(number)
        trial.mkdir(parents=True)
        (trial / "architecture.yaml").write_text(networks[number].to_yaml())
        if accuracy is not None:
            train_to_rung(networks[number], settings, 0, splits, seed=0, directory=trial)
            exact = cost(networks[number], space.image_size)
            rows.append([number, accuracy, accuracy - 0.01, exact.flops / 1e9])
    with (folder / "front.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "val_accuracy", "test_accuracy", "gflops"])
        writer.writerows([*rows, ["", "", "", 3.177]])
    (folder / "run.json").write_text(
        json.dumps(
            {
                "space": "smoke",
                "space_fingerprint": space.fingerprint,
                "objectives": ["accuracy", "gflops"],
                "budgets": {"gflops": 4.0},
                "data": "embedded",
                "proxy": "smoke",
                "seed": 0,
                "storage": "postgresql://user:secret@host/db",
            }
        )
    )
    return RunDirectory.open(folder)


def _rising_codes(space):
    """Four codes of rising cost: the widths."""
    lengths = [len(axis) for axis in space.axes]
    wide = lengths.index(4)
    return [tuple(i if a == wide else 0 for a in range(len(lengths))) for i in range(4)]


def files_below(folder):
    """Relative paths of the files below a folder, hidden ones included."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The knee of the run, without latency."""
    out = tmp_path_factory.mktemp("out") / "knee"
    return export(run.path, "knee", out=out, latency=False)


def test_the_export_holds_exactly_what_it_announces(exported):
    """Files, sizes and checks; no temporary file beside them."""
    assert exported.trial == 1
    assert files_below(exported.directory) == TRAINED == sorted(exported.files)
    for name, size in exported.files.items():
        assert (exported.directory / name).stat().st_size == size > 0
    assert len(exported.checks) == 3
    assert list(exported.directory.parent.iterdir()) == [exported.directory]
    assert json.loads(json.dumps(exported.to_dict()))["trial"] == 1


def test_the_written_architecture_is_the_searched_one(exported, run):
    """Not the proxy's: full width, 1000 classes, 3 channels; other commands take the folder."""
    written = load_architecture(exported.directory / "architecture.yaml")
    assert written == run.architecture(1) == resolve(str(exported.directory))[1]
    assert (written.num_classes, written.in_chans) == (1000, 3)


def test_the_weights_score_what_the_search_recorded(exported, run):
    """Loaded as the card says and fed as the card says, the proxy gives the recorded accuracy."""
    folder = exported.directory / "proxy"
    model = build_model(load_architecture(folder / "architecture.yaml"))
    load_checkpoint(model, folder / "model.safetensors")
    trained = trained_model(run.trial_directory(1))
    splits = load_data("embedded", image_size=32)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (trained.mean, trained.std))
    hits = 0
    with torch.inference_mode():
        for images, labels in splits.val.batches(500):
            logits = model.eval()((images.float() - mean) / std)
            hits += int((logits.argmax(1) == labels).sum())
    assert hits / len(splits.val) == pytest.approx(trained.results[-1].val_accuracy, abs=2e-3)
    same = trained.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())


def test_the_card_is_honest_about_the_weights(exported, run):
    """It says that the network is untrained, and where and after how much the proxy was scored."""
    card = (exported.directory / "README.md").read_text()
    accuracy = trained_model(run.trial_directory(1)).results[-1].val_accuracy
    for phrase in (
        "**untrained**", "proxy accuracies", "32 x 32 px on `embedded`", "after 256 images",
        "rung 1 of 2", f"validation {accuracy:.2%}", "test 41.00%", "first#1", "knee",
        "GFLOPs at 32 x 32", "gflops 4.0",
    ):  # fmt: skip
        assert phrase in card, phrase
    assert "secret" not in card
    total = cost(run.architecture(1), 32)
    assert f"{total.params:,}" in card
    assert f"| total | {total.params / 1e6:.3f} | {total.flops / 1e9:.6f} |" in card


def test_the_cards_python_runs_as_printed(exported):
    """Every snippet, in a fresh interpreter, in the folder."""
    snippets = re.findall(
        r"```python\n(.*?)```", (exported.directory / "README.md").read_text(), re.S
    )
    assert len(snippets) == 2
    code = "\n".join(snippets) + "\nassert proxy is not network and not proxy.training"
    subprocess.run([sys.executable, "-c", code], cwd=exported.directory, check=True, timeout=120)


def test_the_profile_is_of_the_full_network_at_the_spaces_size(exported, run):
    """profile.json holds the exact cost and the name of the candidate."""
    profile = json.loads((exported.directory / "profile.json").read_text())
    assert profile["name"] == "first#1"
    assert profile["key"] == run.architecture(1).key
    assert profile["cost"]["flops"] == cost(run.architecture(1), 32).flops
    assert profile["measurement"] is None


def test_latency_is_measured_on_this_device_when_asked_for(run, tmp_path):
    """The card names the device and profile.json holds the samples."""
    export(run.path, 0, out=tmp_path / "out", device="cpu")
    measurement = json.loads((tmp_path / "out" / "profile.json").read_text())["measurement"]
    assert measurement["samples"]
    assert "## Latency" in (tmp_path / "out" / "README.md").read_text()


def test_an_untrained_candidate_has_no_weights(run, tmp_path):
    """A rejected candidate exports too; the card says that nothing was trained."""
    result = export(f"{run.path}#2", out=tmp_path / "out", latency=False)
    assert files_below(tmp_path / "out") == PLAIN
    assert result.proxy is None
    assert "Nothing was trained" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("spec", ["tiny", "mine.yaml"])
def test_a_variant_and_a_file_export_without_a_run(spec, tmp_path, monkeypatch):
    """Into exports/NAME by default; loading back gives the same network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(VARIANTS["tiny"].to_yaml())
    result = export(spec, latency=False)
    assert result.directory == tmp_path / "exports" / spec.removesuffix(".yaml")
    assert files_below(result.directory) == PLAIN
    assert resolve(str(result.directory))[1] == VARIANTS["tiny"]
    assert "3.177" in (result.directory / "README.md").read_text()


def test_the_default_folder_is_named_after_run_and_pick(run, tmp_path, monkeypatch):
    """exports/first-best for `--pick best`; an earlier one is replaced only with force."""
    monkeypatch.chdir(tmp_path)
    result = export(run.path, "best", latency=False)
    assert (result.trial, result.directory) == (3, tmp_path / "exports" / "first-best")
    with pytest.raises(ExportError, match="--force"):
        export(run.path, "best", latency=False)
    assert export(run.path, "best", latency=False, force=True).files.keys() == result.files.keys()
    assert [p.name for p in (tmp_path / "exports").iterdir()] == ["first-best"]


@pytest.mark.parametrize(
    "case",
    [
        ("RUN", "middle", ExportError),
        ("RUN", "17", RunError),
        ("RUN#17", None, RunError),
        ("RUN#x", None, RunError),
        ("RUN#1", "best", ExportError),
        ("nowhere", None, ExportError),
        ("nowhere#1", None, RunError),
        (".", None, RunError),
        ("", None, DilnasError),
        ("tiny", "best", ExportError),
        ("huge", None, ExportError),
        ("x" * 300, None, ExportError),
        ("RUN", "x" * 300, ExportError),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, monkeypatch, case):
    """Whatever is wrong with RUN or --pick, the present folder stays empty."""
    spec, pick, kind = case
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        export(spec.replace("RUN", str(run.path)), pick, latency=False)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_device_leaves_nothing_behind(run, tmp_path):
    """The failure comes after files were written; they are gone with it."""
    with pytest.raises(DilnasError):
        export(run.path, out=tmp_path / "a" / "b", device="cuda:99")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named_and_nothing_is_written(run, tmp_path, content):
    """A torn file gives its path, not half an export."""
    copy = tmp_path / "run"
    trial = copy / "trials" / "1"
    trial.mkdir(parents=True)
    (copy / "run.json").write_bytes(run.run_json_path.read_bytes())
    (trial / "architecture.yaml").write_bytes(run.architecture_path(1).read_bytes())
    (trial / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        export(f"{copy}#1", out=tmp_path / "out", latency=False)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_candidate_is_refused(run, tmp_path):
    """Trial 3's checkpoint in trial 1's folder is never exported as trial 1."""
    copy = tmp_path / "run"
    trial = copy / "trials" / "1"
    trial.mkdir(parents=True)
    (copy / "run.json").write_bytes(run.run_json_path.read_bytes())
    (trial / "architecture.yaml").write_bytes(run.architecture_path(1).read_bytes())
    (trial / "checkpoint.pt").write_bytes((run.trial_directory(3) / "checkpoint.pt").read_bytes())
    with pytest.raises(ExportError, match="another architecture"):
        export(f"{copy}#1", out=tmp_path / "out", latency=False)


def test_weights_that_differ_from_the_runs_are_never_announced(run, tmp_path):
    """The comparison finds one weight in thousands that moved by a thousandth."""
    trained = trained_model(run.trial_directory(1))
    (tmp_path / "architecture.yaml").write_text(trained.architecture.to_yaml())
    save_weights(trained.model, tmp_path / "model.safetensors")
    assert "equal to the bit" in check_weights(tmp_path, trained.model, trained.architecture)
    changed = build_model(trained.architecture)
    changed.load_state_dict(trained.model.state_dict())
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ExportError, match=r"differ from their source \(got tensor "):
        check_weights(tmp_path, changed, trained.architecture)


def test_the_image_size_of_a_run_must_be_known(run, tmp_path):
    """A run of a space that is gone or has changed gives an error, not a guessed size."""
    trial = tmp_path / "run" / "trials" / "1"
    trial.mkdir(parents=True)
    (trial / "architecture.yaml").write_bytes(run.architecture_path(1).read_bytes())
    for settings, kind in (
        ({"space": "smoke", "space_fingerprint": "00"}, ExportError),
        ({"space": "gone.yaml"}, DilnasError),
        ({"image_size": "big"}, ExportError),
        ({"image_size": 33}, InputError),
    ):
        (tmp_path / "run" / "run.json").write_text(json.dumps(settings))
        with pytest.raises(kind):
            export(f"{tmp_path / 'run'}#1", out=tmp_path / "out", latency=False)
    assert not (tmp_path / "out").exists()
