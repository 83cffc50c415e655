"""TensorBoard reads back what a run's curves were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dilnas.errors import RunError
from dilnas.report import write_tensorboard
from dilnas.runs import RunDirectory

EXAMPLE = Path(__file__).parents[1] / "reference" / "older_run"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """The example run; trial 0 kept its curve too."""
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder)
    rungs = [{"train_loss": 1.5, "val_loss": 1.25, "seconds": 9.0}, {"train_loss": None}]
    (folder / "trials" / "0").mkdir(parents=True)
    (folder / "trials" / "0" / "curve.json").write_text(json.dumps({"rungs": rungs}))
    return RunDirectory(folder)


def events(run: RunDirectory, trial: int) -> Any:
    """What TensorBoard itself reads of a trial."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(run.tensorboard / f"trial-{trial}")).Reload()


def test_tensorboard_reads_every_trial_that_was_trained(run: RunDirectory) -> None:
    """Accuracies by images seen; losses of the trial that kept them; costs at the end."""
    assert write_tensorboard(run) == 24 * 3
    assert len(list(run.tensorboard.iterdir())) == 24  # two were rejected
    read = events(run, 0)
    scores = [(e.step, e.value) for e in read.Scalars("accuracy/val")]
    assert scores == [(2048, pytest.approx(0.772)), (6144, pytest.approx(0.8265))]
    assert [(e.step, e.value) for e in read.Scalars("loss/train")] == [(2048, 1.5)]
    assert read.Scalars("cost/gflops")[0].value == pytest.approx(3.177221696)
    assert "loss/train" not in events(run, 3).Tags()["scalars"]


def test_choices_are_hyperparameters(run: RunDirectory) -> None:
    """As the HParams page reads them, with the accuracy and the costs as its metrics."""
    write_tensorboard(run)
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    content = events(run, 0).PluginTagToContent("hparams")
    begun = plugin.HParamsPluginData.FromString(content[metadata.SESSION_START_INFO_TAG])
    values = begun.session_start_info.hparams
    assert values["layout"].string_value == "D2 D2 G6 G2"
    experiment = plugin.HParamsPluginData.FromString(content[metadata.EXPERIMENT_TAG]).experiment
    metrics = {one.name.tag for one in experiment.metric_infos}
    assert {"accuracy/val", "cost/gflops", "cost/mparams"} <= metrics


def test_what_is_there_is_not_written_again(run: RunDirectory) -> None:
    """A search that goes on adds to it; a file that was cut off is made whole."""
    write_tensorboard(run)
    before = {p: p.read_bytes() for p in run.tensorboard.rglob("*") if p.is_file()}
    assert write_tensorboard(run) == 0
    cut = next(iter(before))
    cut.write_bytes(before[cut][:-3])
    assert write_tensorboard(run) == 1
    assert {p: p.read_bytes() for p in run.tensorboard.rglob("*") if p.is_file()} == before


def test_a_file_in_the_way_is_one_line(run: RunDirectory) -> None:
    """Where the folder should be."""
    run.tensorboard.write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_tensorboard(run)
