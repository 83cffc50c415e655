"""Full training by two workers of Ray Train, killed and interrupted as a user would."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from full_cases import NO_BATCH_NORM, command, photographs, recipe, toy, weights

from dilnas.data.stream import open_stream
from dilnas.model import build_model, load_checkpoint
from dilnas.runs import resolve

PATIENCE = 600
"""Seconds that a command may take on a busy machine."""


def words(folder, data, out="out", **options):
    given = {"data": data, "recipe": recipe(folder, epochs=12), "out": folder / out, "workers": 2,
             "loaders": 0, "device": "cpu", **options}  # fmt: skip
    flags = [x for name, value in given.items() for x in (f"--{name.replace('_', '-')}", value)]
    return [toy(folder), *flags]


def until(process, what):
    """Wait until ``what()``; the process must not have ended before."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def finished(process, code=0):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, (process.returncode, out[-2000:], err[-3000:])
    return out, err


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos"))


def test_two_workers_train_and_what_is_logged_is_what_the_weights_give(photos, tmp_path):
    """Over all 21 validation images, which two workers cannot share evenly."""
    out, err = finished(command(*words(tmp_path, photos)))
    assert "best: top-1" in out and "next: dilnas profile" in out
    assert "12/12" in err and "Traceback" not in err and "ray" not in err.lower()
    _check_logged(tmp_path / "out", photos)


@pytest.mark.slow
def test_two_workers_killed_with_minus_9_end_with_the_weights_of_an_undisturbed_run(
    photos, tmp_path
):
    """The driver is killed in mid-training; the same command goes on."""
    finished(command(*words(tmp_path, photos, "whole")))
    again = command(*words(tmp_path, photos))
    until(again, (tmp_path / "out" / "state.pt").exists)
    os.kill(again.pid, signal.SIGKILL)
    again.communicate()
    assert not json.loads((tmp_path / "out" / "train.json").read_text())["finished"]
    _, err = finished(command(*words(tmp_path, photos)))
    assert "going on with" in err
    for name in ("last", "last-ema", "best"):
        file = f"{name}.safetensors"
        assert torch.equal(weights(tmp_path / "out", file), weights(tmp_path / "whole", file))
    _check_logged(tmp_path / "out", photos)


def _check_logged(out: Path, photos: Path) -> None:
    from dilnas.train import read_recipe
    from dilnas.train.transforms import transforms

    _, architecture = resolve(str(out))
    model = build_model(architecture).eval()
    load_checkpoint(model, out / "last.safetensors")
    stream = open_stream(str(photos))
    still = transforms(stream, read_recipe(out / "recipe.yaml"), 32)[1]
    with torch.inference_mode():
        logits = model(torch.stack([still(stream.val.image(i)) for i in range(21)]))
    right = float((logits.argmax(1) == torch.from_numpy(stream.val.labels)).float().mean())
    last = (out / "log.csv").read_text().splitlines()[-1].split(",")
    assert right == pytest.approx(float(last[4]), abs=1e-6)
    assert not (out / ".ray").exists()


@pytest.mark.slow
def test_ctrl_c_ends_two_workers_with_their_state_saved(photos, tmp_path):
    """As a terminal sends it, to the whole group of processes: exit code 130, and it goes on."""
    process = command(*words(tmp_path, photos))
    until(process, (tmp_path / "out" / "state.pt").exists)
    os.killpg(process.pid, signal.SIGINT)
    out, err = finished(process, 130)
    assert "give the same command to go on" in out and "Traceback" not in err
    finished(command(*words(tmp_path, photos)))
    finished(command(*words(tmp_path, photos, "whole")))
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line_and_the_state_is_kept(photos, tmp_path):
    """As by the system when memory runs out: exit code 2, and the same command goes on."""
    process = command(*words(tmp_path, photos))
    until(process, (tmp_path / "out" / "state.pt").exists)
    raylet = next(pid for pid in descendants(process.pid) if "raylet/raylet" in line_of(pid))
    os.kill(workers_under(raylet)[0], signal.SIGKILL)
    _, err = finished(process, 2)
    assert "a worker died: it was killed" in err.splitlines()[-1] and "Traceback" not in err
    finished(command(*words(tmp_path, photos)))


def line_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def descendants(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            above = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1])
            if above == pid:
                found.append(int(folder.name))
    return found + [below for child in found for below in descendants(child)]


def workers_under(raylet: int) -> list[int]:
    return [pid for pid in descendants(raylet) if "TrainWorker" in line_of(pid)]


@pytest.mark.slow
def test_two_workers_train_as_one_with_a_batch_as_large(photos, tmp_path):
    """Without batch norm, mixing, dropped paths; with steps in proportion to the gradient."""
    (tmp_path / "net.yaml").write_text(NO_BATCH_NORM.to_yaml())
    settings = recipe(
        tmp_path, mixup=0.0, cutmix=0.0, drop_path=0.0, opt_eps=1.0, lr=1.0, weight_decay=0.0
    )
    for workers, accumulate in ((1, 1), (2, 3)):
        finished(
            command(
                tmp_path / "net.yaml",
                "--data",
                photos,
                "--recipe",
                settings,
                "--device",
                "cpu",
                "--workers",
                workers,
                "--accumulate",
                accumulate,
                "--out",
                tmp_path / f"{workers}",
            )
        )
    ends = [weights(tmp_path / name) for name in ("1", "2")]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_corrupt_image_met_by_one_of_two_workers_is_one_line(photos, tmp_path):
    """Exit code 2, the file's name, nothing of Ray."""
    data = photographs(tmp_path / "data")
    victim = data / "train" / "class2" / "003.jpg"
    victim.write_bytes(victim.read_bytes()[:200])
    _, err = finished(command(*words(tmp_path, data)), 2)
    last = err.splitlines()[-1]
    assert last.startswith("dilnas: error: ") and str(victim) in last and "whole image" in last
    assert "Traceback" not in err


@pytest.mark.slow
def test_tiny_is_trained_on_the_embedded_data_by_two_workers(tmp_path):
    """The whole path with the paper's network: it learns, and its profile can be made."""
    process = command(
        "tiny", "--epochs", "2", "--batch-size", "100", "--workers", "2", "--device", "cpu",
        "--out", "trained", "--json", cwd=tmp_path,
    )  # fmt: skip
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err[-3000:]
    document = json.loads(out)
    assert document["best"]["top1"] > 0.5
    assert len(document["epochs"]) == 2
