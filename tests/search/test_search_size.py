"""A search at another image size: budgets, costs, references and what follows are of that size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from closed_form_world import World
from typer.testing import CliRunner

from dilnas.cli.app import app
from dilnas.cost import cost
from dilnas.errors import BudgetError, InputError, RunError
from dilnas.export import export
from dilnas.export.source import find_source
from dilnas.ray_session import ray_session
from dilnas.report.front_data import FrontPicture
from dilnas.runs import RunDirectory
from dilnas.search import search
from dilnas.search.domain import SpaceDomain
from dilnas.search.events import Note, SearchResult
from dilnas.space import SearchSpace
from dilnas.space_costs import costs_of
from dilnas.space_report import Budgets, presearch_report
from dilnas.variants import VARIANTS

SIZE = (64, 96)
DEFAULT, SMOKE = SearchSpace.load("dilateformer"), SearchSpace.load("smoke")


# --- before anything is trained -----------------------------------------------------------------


def test_costs_of_codes_are_those_of_their_networks_at_a_size_that_is_not_square() -> None:
    """The vectorised closed form, the domain's figures and the scalar one, to the last integer."""
    codes = DEFAULT.sample(40, 3)
    found, domain = costs_of(DEFAULT, codes, (800, 1280)), SpaceDomain(DEFAULT, size=(800, 1280))
    for i, code in enumerate(codes):
        exact = cost(DEFAULT.decode(code), 800, 1280)
        figures = domain.member(code).figures
        assert found["gflops"][i] == figures.gflops == exact.flops / 1e9
        assert found["mb"][i] == figures.mb == exact.memory_bytes() / 1e6
        assert found["mparams"][i] == figures.mparams == exact.params / 1e6


def test_global_attention_grows_with_the_square_of_the_pixels_and_msda_with_the_pixels() -> None:
    """From 224 x 224 to 800 x 1280 there are 20.4 times as many: the products of global blocks
    grow by the square of that, all else in a network that has none by 20.4."""
    more = 800 * 1280 / 224**2
    for name, architecture in VARIANTS.items():
        small, large = cost(architecture), cost(architecture, 800, 1280)
        for before, after in zip(small.rows, large.rows, strict=True):
            grown = after.operators.get("matmul", 0) / max(before.operators.get("matmul", 0), 1)
            if before.kind == "global":
                assert grown == pytest.approx(more**2), name
            elif before.kind == "msda":
                assert grown == pytest.approx(more), name


def test_fewer_networks_fit_a_budget_that_grows_with_the_pixels() -> None:
    """4 GFLOPs at 224 x 224 against 20.4 times that at 800 x 1280; those with fewer global blocks
    are the ones that still fit."""
    more = 800 * 1280 / 224**2
    near = presearch_report(DEFAULT, Budgets(gflops=4), samples=20_000)
    far = presearch_report(
        DEFAULT, Budgets(gflops=4 * more), samples=20_000, image_size=(800, 1280)
    )
    assert far.share < near.share - 5 * (near.standard_error + far.standard_error)
    codes = DEFAULT.sample(5000, 1)
    lost = (costs_of(DEFAULT, codes, 224)["gflops"] <= 4) & (
        costs_of(DEFAULT, codes, (800, 1280))["gflops"] > 4 * more
    )
    kept = costs_of(DEFAULT, codes, (800, 1280))["gflops"] <= 4 * more

    def global_blocks(rows: Any) -> float:
        return float(np.mean([sum(s.global_depth for s in DEFAULT.decode(c).stages) for c in rows]))

    assert global_blocks(codes[lost]) > global_blocks(codes[kept])


def test_the_report_says_the_size_where_it_is_not_the_spaces_own() -> None:
    """In its first line, in its document; at the space's own size as ever."""
    report = presearch_report(SMOKE, image_size=SIZE)
    assert report.summary_lines()[0].endswith("distinct architectures, costs at 64 x 96 px")
    assert report.to_dict()["image_size"] == [64, 96]
    assert report.to_dict()["own_image_size"] == 32
    assert presearch_report(SMOKE, image_size=32).summary_lines() == (
        presearch_report(SMOKE).summary_lines()
    )


@pytest.mark.parametrize(
    ("command", "size"),
    [("show", "64x96"), ("sample", "64x96")],
)
def test_the_space_commands_take_a_size_that_is_not_square(command: str, size: str) -> None:
    """The budget is of that size: no more than half of 64 x 96 fits what all of 32 x 32 does."""
    words = ["space", command, "smoke", "--img-size", size]
    done = CliRunner().invoke(app, [*words, "--budget-gflops", "0.07"])
    assert done.exit_code == 0, done.exception
    assert command == "sample" or "costs at 64 x 96 px" in done.stdout
    error = CliRunner().invoke(app, [*words, "--budget-gflops", "0.012"]).exception
    assert isinstance(error, BudgetError)


@pytest.mark.parametrize("size", ["64x90", "x", "0", "64x96x3"])
def test_a_size_that_cannot_be_is_refused_in_one_line(size: str, tmp_path: Path) -> None:
    """By search and by space, and nothing is left."""
    for words in (["search", "--space", "smoke", "--out", str(tmp_path / "r")], ["space", "show"]):
        error = CliRunner().invoke(app, [*words, "--img-size", size]).exception
        assert isinstance(error, InputError)
        assert "--img-size" in str(error) and "\n" not in str(error)
    assert not (tmp_path / "r").exists()


def test_a_calibration_of_another_size_is_refused(tmp_path: Path) -> None:
    """Predicted milliseconds are of its images, not of these."""
    with pytest.raises(InputError, match=r"another image .*expected 64x96, got 224x224"):
        search(
            "smoke", img_size=SIZE, budget_ms=5, out=str(tmp_path / "run"),
            profile="amd-epyc/dilateformer-b8-224-fp32-t2",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


# --- a search -----------------------------------------------------------------------------------


def go(folder: Path, **options: Any) -> SearchResult:
    given: dict[str, Any] = {
        "space": "smoke", "trials": 5, "workers": 2, "final_seeds": 0, "img_size": SIZE,
        "out": str(folder / "run"), "evaluator": World(str(folder / "log.txt")),
    }  # fmt: skip
    return search(**(given | options))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all searches of this module."""
    with ray_session(2):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> RunDirectory:
    """A search of the smoke space at 64 x 96 within a budget, really trained."""
    folder = tmp_path_factory.mktemp("size")
    notes: list[Any] = []
    go(
        folder, evaluator=None, proxy="smoke", trials=2, budget_gflops=0.07,
        on_event=notes.append,
    )  # fmt: skip
    assert any(
        note.detail.image_size == SIZE
        for note in notes
        if isinstance(note, Note) and note.detail is not None
    )
    return RunDirectory(folder / "run")


def test_every_cost_of_a_run_is_of_that_size(run: RunDirectory) -> None:
    """Candidates and the paper's variants as references, in front.csv and trials.csv."""
    assert run.run_json()["image_size"] == [64, 96]
    for row in run.trial_rows():
        exact = cost(run.architecture(row["trial"]), *SIZE)
        assert row["gflops"] == pytest.approx(exact.flops / 1e9, abs=1e-6)
        assert row["memory_mb"] == pytest.approx(exact.memory_bytes() / 1e6, abs=1e-3)
        assert row["state"] == "rejected" or row["gflops"] <= 0.07
    references = {row["reference"]: row for row in run.front_rows() if row["reference"]}
    assert set(references) == set(VARIANTS)
    for name, row in references.items():
        assert row["gflops"] == pytest.approx(cost(VARIANTS[name], *SIZE).flops / 1e9, abs=1e-6)
    assert "costs at 64 x 96 px" in FrontPicture.of(run).origin()
    assert "costs at 64 x 96 px" in run.report_html.read_text(encoding="utf-8")


def test_references_that_the_front_lacks_are_of_that_size_too(
    run: RunDirectory, tmp_path: Path
) -> None:
    """As after a crash between the last training and the variants' rows."""
    for name in ("run.json", "trials.csv"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    head, *rows = run.front_csv.read_text().splitlines()
    at = head.split(",").index("trial")
    own = [row for row in rows if row.split(",")[at]]
    (tmp_path / "front.csv").write_text("\n".join([head, *own]) + "\n")
    found = FrontPicture.of(RunDirectory(tmp_path)).references
    assert {p.label: p.x for p in found} == {
        name: cost(architecture, *SIZE).flops / 1e9 for name, architecture in VARIANTS.items()
    }


def test_the_proxy_trains_at_its_own_size(run: RunDirectory) -> None:
    """32 pixels, whatever the costs are of."""
    assert run.run_json()["proxy_settings"]["image_size"] == 32


def test_what_is_exported_of_it_is_of_that_size(run: RunDirectory, tmp_path: Path) -> None:
    """Cost, card and the command that the export names."""
    result = export(run.path, "best", out=tmp_path / "out", latency=False)
    assert (result.profile.cost.height, result.profile.cost.width) == SIZE
    assert result.to_dict()["image_size"] == [64, 96]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "64 x 96" in card and "image_size" in card
    words = [
        "export",
        str(run.path),
        "--pick",
        "best",
        "--no-latency",
        "--out",
        str(tmp_path / "b"),
    ]
    assert "--img-size 64x96" in CliRunner().invoke(app, words).stdout


def test_the_same_size_goes_on_and_another_is_refused(run: RunDirectory) -> None:
    """With the field that differs; the run is as it was."""
    before = run.run_json_path.read_text()
    again = go(
        run.path.parent, evaluator=None, proxy="smoke", trials=2, budget_gflops=0.07,
        img_size=[64, 96],
    )  # fmt: skip
    assert again.trained == 0
    for other in ((96, 64), None, 64):
        with pytest.raises(RunError, match="another search: image_size differs"):
            go(
                run.path.parent, evaluator=None, proxy="smoke", trials=2,
                budget_gflops=0.07 if other else 0.012, img_size=other,
            )  # fmt: skip
    assert json.loads(run.run_json_path.read_text()) == json.loads(before)


def test_a_run_from_before_there_was_a_choice_goes_on(tmp_path: Path, cluster: None) -> None:
    """Its run.json holds no size: it is of the space's own, which may also be given."""
    go(tmp_path, img_size=None, trials=2)
    path = tmp_path / "run" / "run.json"
    head = json.loads(path.read_text())
    assert head.pop("image_size") == 32
    path.write_text(json.dumps(head))
    assert find_source(str(tmp_path / "run"), "best").image_size == (32, 32)
    assert go(tmp_path, img_size=32, trials=2).trained == 0
    path.write_text(json.dumps(head))
    with pytest.raises(RunError, match="another search: image_size differs"):
        go(tmp_path, trials=2)


def test_the_name_of_a_run_says_the_size() -> None:
    """Two searches that differ in nothing else do not meet in one folder."""
    from dilnas.search.settings import Settings, default_directory

    given: dict[str, Any] = {
        "space": "smoke", "budgets": {"gflops": 1}, "objectives": ("accuracy", "gflops"),
        "trials": 3, "time_limit": None, "seed": 0, "data": "embedded", "proxy": "quick",
        "sampler": "auto", "storage": None,
    }  # fmt: skip
    named = [default_directory(Settings.checked(**given, image_size=s)) for s in (None, SIZE)]
    assert [path.name for path in named] == ["smoke-1gflops", "smoke-64x96-1gflops"]
