"""What the README says is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)


def test_the_two_set_up_commands_stand_in_the_readme_alone() -> None:
    """Both can be copied as they are: each is the only line of its block."""
    blocks = [text.strip() for _, text in BLOCKS]
    assert "python -m pip install -e . && dilnas search --budget-gflops 4" in blocks
    assert "python -m pip install -e '.[test]' && pytest" in blocks


def test_the_python_example_runs() -> None:
    """Every name in it exists and its assertions hold."""
    examples = [text for language, text in BLOCKS if language == "python"]
    assert len(examples) == 1
    namespace: dict[str, object] = {}
    exec(compile(examples[0], "README.md", "exec"), namespace)  # noqa: S102 - our own file
    assert "model" in namespace


def test_the_cost_tables_shown_are_those_that_profile_prints() -> None:
    """Counting is exact, so the README's tables of Base are the command's, to the character."""
    shown = next(text for _, text in BLOCKS if text.startswith("$ dilnas profile --variant base"))
    result = subprocess.run(
        [sys.executable, "-m", "dilnas", "profile", "--variant", "base", "--no-latency"],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip
    printed = [line.rstrip() for line in result.stdout.splitlines() if line.strip()]
    have = {line.rstrip() for line in shown.splitlines()}
    missing = [line for line in printed if line not in have]
    assert not missing, missing


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))))
def test_every_file_that_the_readme_links_to_exists(target: str) -> None:
    """No dead link on the first page."""
    assert (ROOT / target).exists()


def test_every_option_that_the_readme_names_exists() -> None:
    """An option in the text is an option of some command."""
    from typer.testing import CliRunner

    from dilnas.cli.app import app

    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    text = "".join(
        runner.invoke(app, [command, "--help"]).stdout
        for command in ("profile", "search", "export", "space")
    )
    for option in set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", README)):
        assert option in text, option
