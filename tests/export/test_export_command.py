"""``dilnas export`` as typed: what it prints, its exit codes, its one-line errors."""

import json
import subprocess
import sys

import pytest

from dilnas.cli import main
from dilnas.variants import VARIANTS


@pytest.fixture
def dilnas(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return call


def test_it_prints_what_was_written_checked_and_comes_next(dilnas, tmp_path):
    """Sizes, checks and a next command that works as printed."""
    code, out, err = dilnas("export", "tiny", "--out", "my tiny", "--no-latency")
    assert (code, err) == (0, "")
    for name in ("architecture.yaml", "recipe.yaml", "README.md", "profile.json"):
        assert name in out
        assert (tmp_path / "my tiny" / name).is_file()
    assert "17.239 M parameters, 3.177 GFLOPs at 224 x 224" in out
    assert "read back" in out
    assert "dilnas profile 'my tiny/architecture.yaml'" in out


def test_json_is_one_document_on_stdout(dilnas, tmp_path):
    """--json prints nothing else."""
    code, out, _ = dilnas("export", "tiny", "--out", "out", "--no-latency", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["directory"] == str(tmp_path / "out")
    assert document["key"] == VARIANTS["tiny"].key
    assert document["trained_proxy"] is None
    assert document["files_bytes"]["README.md"] > 0


def test_formats_and_weights_are_said_in_the_summary(dilnas, tmp_path):
    """What is written is named before it takes its time; untrained weights are shouted about."""
    small = "stages: [{dim: 12, num_heads: 3, msda_depth: 1}]\nnum_classes: 5\n"
    (tmp_path / "small.yaml").write_text(small)
    words = ("export", "small.yaml", "--no-latency", "--img-size", "32x48")
    code, out, err = dilnas(*words, "--format", "python,timm", "--format", "export")
    assert code == 0
    assert err.splitlines() == [
        "writing config.json, for timm …", "writing model.pt2, and loading it …",
        "writing model.py, and running it …",
    ]  # fmt: skip
    assert "GFLOPs at 32 x 48" in out
    assert "UNTRAINED: the network has fresh random weights" in out
    assert out.count("largest difference") == 3
    from dilnas.model import build_model, save_weights
    from dilnas.runs import load_architecture

    model = build_model(load_architecture("small.yaml").replace(num_classes=9))
    save_weights(model, "nine.safetensors")
    words = (*words, "--weights", "nine.safetensors", "--out", "nine", "--json")
    code, out, err = dilnas(*words)
    assert (code, out) == (2, "")
    assert "another number of classes; --num-classes 9 takes them" in err
    code, out, _ = dilnas(*words, "--num-classes", "9")
    assert code == 0
    document = json.loads(out)
    assert (document["formats"], document["weights"]) == (["yaml"], "nine.safetensors")
    assert document["files_bytes"]["model.safetensors"] > 0
    assert load_architecture("nine/architecture.yaml").num_classes == 9


def test_an_earlier_export_is_replaced_only_with_force(dilnas):
    """The second time is an error that names --force; with it all goes well."""
    words = ("export", "tiny", "--out", "out", "--no-latency")
    assert dilnas(*words)[0] == 0
    code, _, err = dilnas(*words)
    assert code == 2
    assert "--force" in err
    assert dilnas(*words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "no run, variant or file of that name"),
        (("nowhere#3",), "run.json is missing"),
        (("tiny", "--pick", "knee"), "only a run has candidates"),
        (("tiny", "--format", "tflite"), "yaml | timm | onnx | export | python"),
        (("tiny", "--img-size", "a x b"), "--img-size"),
        (("tiny", "--img-size", "100"), "multiples of the network's stride 32"),
        (("tiny", "--num-classes", "-1"), "num_classes"),
        (("tiny", "--weights", "gone.pth"), "no such checkpoint file"),
        (("tiny", "--out", "/proc/nowhere/x"), "cannot be written"),
        (("tiny", "--device", "cuda:77"), "cuda"),
        (("tiny", "--device", "abacus"), "abacus"),
        (("empty",), "run.json is missing"),
        (("unfinished",), "no front yet"),
        (("unfinished", "--pick", "0"), "no such trial"),
        (("unfinished", "--pick", "middle"), "knee | best | N"),
        (("broken",), "not JSON"),
        (("hostile.yaml",), "hostile.yaml"),
        ((), "RUN"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(dilnas, tmp_path, words, said):
    """One line on stderr, nothing on stdout, no file written."""
    for name, text in (("unfinished", '{"image_size": 32}'), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hostile.yaml").write_text("!!python/object/apply:os.system ['touch pwned']")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = dilnas("export", *words)
    assert (code, out) == (2, "")
    assert err.startswith("dilnas: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(tmp_path.rglob("*")) == before


AS_NOBODY = """
import os, sys
from dilnas.cli import main
words = ["export", "tiny", "--no-latency"]
try:
    main([*words, "--out", sys.argv[1]])  # imports everything while it can be read
except SystemExit as done:
    assert not done.code, done.code
os.chdir("/usr")
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
main(words)
"""


def test_a_read_only_folder_is_one_line(tmp_path):
    """`exports/` cannot be made in the present folder: one line, exit code 2."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, tmp_path / "out"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "/usr/exports/tiny: cannot be written: Permission denied" in done.stderr


def test_help_has_examples(dilnas):
    """--help shows how to get the knee of a run."""
    code, out, _ = dilnas("export", "--help")
    assert code == 0
    assert "dilnas export runs/NAME --pick knee" in out
