"""`dilnas space`, its page of documentation, and the spaces in the wheel."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dilnas.arch import Architecture
from dilnas.cli.space import app
from dilnas.errors import BudgetError, SpaceError
from dilnas.space import SearchSpace

ROOT = Path(__file__).parents[2]


def run(*words):
    """Result of the command; an error of the user's is raised."""
    return CliRunner().invoke(
        app, list(words), env={"COLUMNS": "100", "TERM": "dumb"}, catch_exceptions=True
    )


def test_list_names_every_shipped_space():
    """`space list` has a row for each."""
    out = run("list").stdout
    assert all(name in out for name in SearchSpace.names())


def test_show_prints_axes_ranges_and_share():
    """The table of smoke has its axes and exact numbers, as printed."""
    out = run("show", "smoke", "--budget-mparams", "1").stdout
    squeezed = [" ".join(line.split()) for line in out.splitlines()]
    for line in (
        "dim dim 1, 2, 3, 4 12 18 24 30 x 1, 2, 4, 8",
        "depth3 depth 3 1 2 3",
        "dilations12 dilations 1, 2 1 1-2-3",
        "of all codes min median max",
        "GFLOPs 0.007 0.009 0.012",
        "96 codes, 96 distinct networks; costs at 32 x 32 px",
        "binding limit: M parameters",
    ):
        assert line in squeezed, out


def test_show_json_is_one_document_alone():
    """With --json, stdout is JSON and holds the report and the definition."""
    out = json.loads(run("show", "smoke", "--json", "--budget-gflops", "0.01").stdout)
    assert out["report"]["size"] == 96
    assert SearchSpace.from_dict(out["definition"]).size == 96
    assert Architecture.from_dict(out["report"]["cheapest"]["architecture"])


def test_sample_prints_architectures_that_are_in_the_space():
    """Each document of `space sample` is an architecture of the space, within the budget."""
    out = run("sample", "smoke", "-n", "3", "--seed", "1", "--budget-gflops", "0.01").stdout
    documents = list(yaml.safe_load_all(out))
    assert len(documents) == 3
    space = SearchSpace.load("smoke")
    assert all(space.why_not(Architecture.from_dict(one)) is None for one in documents)


def test_check_says_whether_an_architecture_is_inside():
    """Inside: exit 0 and the code. Outside: exit 1 and the reason."""
    inside = run("check", "dilateformer", "tiny")
    assert inside.exit_code == 0 and "tiny: in dilateformer, code" in inside.stdout
    outside = run("check", "smoke", "tiny")
    assert outside.exit_code == 1 and "stages[0].depth" in outside.stdout


def test_errors_of_the_user_are_dilnas_errors():
    """An unknown space and a budget that is too low reach the command line as such."""
    assert isinstance(run("show", "nope").exception, SpaceError)
    assert isinstance(run("show", "smoke", "--budget-gflops", "0.001").exception, BudgetError)


@pytest.mark.parametrize("command", ["list", "show", "sample", "check"])
def test_every_command_has_help_with_an_example(command):
    """--help of each command has runnable examples."""
    out = run(command, "--help").stdout
    assert f"dilnas space {command}" in out.partition("Examples:")[2]


def test_the_examples_of_the_page_run(tmp_path):
    """The YAML and Python of docs/spaces.md work as printed, and so do its commands."""
    page = (ROOT / "docs" / "spaces.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "my-space.yaml"
    file.write_text(text)
    (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(python, "docs/spaces.md", "exec"), {})  # noqa: S102 - our own page
    commands = re.findall(r"^dilnas space (.*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        result = run(*command.replace("my-space.yaml", str(file)).split())
        assert result.exit_code == 0, result.output
    file.write_text(text.replace("dim: [72", "dim: [null").replace(
        "axes:\n", "axes:\n  dim1: {field: dim, stage: 1, values: [69, 70]}\n"))  # fmt: skip
    (printed,) = re.findall(r"^dilnas: error: my-space.yaml: (.*)$", page, re.MULTILINE)
    with pytest.raises(SpaceError, match=re.escape(printed)):
        SearchSpace.load(file)


def test_the_spaces_travel_in_the_wheel_and_are_found_there(tmp_path):
    """A built package holds every space file and finds it from an empty directory."""
    pytest.importorskip("setuptools", minversion="77")
    build = tmp_path / "lib"
    egg = tmp_path / "egg"
    egg.mkdir()
    command = ["setup.py", "-q", "egg_info", "-e", str(egg), "build_py", "--build-lib", str(build)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    names = {p.name for p in (build / "dilnas/_embedded/search_spaces").iterdir()}
    assert names == {path.name for path in (ROOT / "search_spaces").glob("*.yaml")}
    empty = tmp_path / "empty"
    empty.mkdir()
    script = (
        f"import sys; sys.path.insert(0, {str(build)!r}); import dilnas.space as s;"
        "print(s.__file__, s.SearchSpace.load('smoke').size)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=empty, check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == [str(build / "dilnas" / "space.py"), "96"]
