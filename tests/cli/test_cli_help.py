"""Help, version and completion. After a wanted change: DILNAS_OVERWRITE_GOLDEN=1 pytest tests/cli.

The golden files hold the help as printed 100 columns wide; what is compared is their words, since
boxes, blanks and the names of types are typer's and change with its versions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import dilnas

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = (
    "", "profile", "compare", "calibrate", "predict", "search", "export", "train", "report",
    "space", "space list", "space show", "space sample", "space check", "bench search",
)  # fmt: skip


def words_of(text: str) -> list[str]:
    """Words in their order, without frames, ``<int>`` and the usage line."""
    body = re.sub(r"Usage:.*", "", text)
    body = re.sub(r"[─-╿|+]|<[a-z ]+>|\[\d*<?=?x[<>=]+\d+\]|-{3,}", " ", body)
    return body.split()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c or "dilnas")
def test_help_is_as_recorded_and_has_examples(command: str, tmp_path: Path) -> None:
    """What each command says about itself changes only on purpose, and shows how to use it."""
    done = dilnas(*command.split(), "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip() + "\n"
    file = GOLDEN / f"{command.replace(' ', '-') or 'dilnas'}.txt"
    if os.environ.get("DILNAS_OVERWRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert words_of(text) == words_of(file.read_text(encoding="utf-8"))
    assert max(map(len, text.splitlines())) <= 100
    examples = text.partition("Examples:")[2].partition("╭")[0].strip("\n").splitlines()
    assert f"dilnas {command}".strip() in examples[0]
    # None is broken in two on a terminal of 80 columns, of which the margin takes one.
    assert all(re.match(r" *dilnas \S", line) and len(line) <= 79 for line in examples if line)
    assert "\b" not in text


@pytest.mark.parametrize("command", ["", "space"])
def test_a_command_without_a_subcommand_shows_its_help(command: str, tmp_path: Path) -> None:
    """On stdout, with nothing on stderr, as if --help had been given."""
    bare, asked = (dilnas(*command.split(), *more, cwd=tmp_path) for more in ((), ("--help",)))
    assert (bare.returncode, bare.stderr) == (0, "")
    assert words_of(bare.stdout) == words_of(asked.stdout)


def test_no_default_is_swallowed_by_markup() -> None:
    """``[default: …]`` typed into a help text looks like markup to rich and disappears."""
    folder = Path(__file__).parents[2] / "dilnas" / "cli"
    for file in folder.glob("*.py"):
        assert "[default" not in file.read_text(encoding="utf-8"), file.name


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    """One line, from the module and from the installed command alike."""
    import dilnas as package

    done = dilnas("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"dilnas {package.__version__}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """The shown script is bash, and what it calls answers with the commands."""
    script = dilnas("--show-completion", "bash", cwd=tmp_path).stdout
    assert "complete" in script and "_DILNAS_COMPLETE=complete_bash" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    for typed, expected in (("dilnas pro", "profile"), ("dilnas profile --no", "--no-latency")):
        env = {
            **os.environ, "_DILNAS_COMPLETE": "complete_bash", "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        }  # fmt: skip
        code = "import sys; sys.argv = ['dilnas']; from dilnas.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False,
            cwd=tmp_path,
        )  # fmt: skip
        assert expected in done.stdout.split(), done


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """``dilnas --help`` stays quick: what takes seconds is loaded by the command that needs it."""
    code = (
        "import sys\nfrom dilnas.cli import main\ntry:\n    main(['--help'])\n"
        "except SystemExit:\n    heavy = 'torch numpy pandas ray optuna scipy plotly'.split()\n"
        "    print([n for n in heavy if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr.strip() == "[]"
