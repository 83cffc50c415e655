"""Imports go one way, and what a GPU node does not have is not needed there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dilnas"

# From the bottom up: a room imports from itself and from rooms before it, nothing else.
# `files` comes first because reading a file safely is what `arch` does in `from_yaml`; `report`
# comes before `export` and `search`, which show tables and write the picture with it.
ROOMS = (
    ("errors", "lazy"),
    ("files", "sizes"),
    ("interrupt", "lock", "ray_session"),
    ("stage", "arch", "official"),
    ("variants",),
    ("records",),
    ("runs",),
    ("cost",),
    ("space", "space_fields", "space_file", "space_match"),
    ("space_costs", "space_report"),
    ("ops",),
    ("model",),
    ("posterizing",),
    ("timm_models",),
    ("count",),
    ("measure",),
    ("predict",),
    ("dense",),
    ("data",),
    ("train",),
    ("report",),
    ("export",),
    ("search",),
    ("bench",),
    ("cli",),
    ("__init__", "__main__"),  # the public API may name everything
)
RANK = {name: i for i, room in enumerate(ROOMS) for name in room}


def rooms_below(name: str) -> tuple[str, ...]:
    """Modules and packages of the rooms before that of ``name``."""
    return tuple(module for room in ROOMS[: RANK[name]] for module in room)


NO_NUMPY = rooms_below("cost")
NO_TORCH = (*rooms_below("ops"), "report")
LEAN = ("arch", "cost", "ops", "model", "measure", "predict", "dense", "train")
HEAVY = (
    "ray", "optuna", "fvcore", "ptflops", "pydantic", "plotly", "scipy", "moocore", "sqlalchemy",
    "timm", "torchvision", "transformers", "onnx", "safetensors", "PIL",
)  # fmt: skip

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """``cost`` for dilnas/cost/formulas.py, ``arch`` for dilnas/arch.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of everything a module imports, also inside functions.

    ``from dilnas.cost import cost`` gives ``dilnas.cost.cost``: the caller cuts to the room.
    """
    package = ("dilnas", *path.relative_to(PACKAGE).parts[:-1])
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
    return found


def imported_room(name: str) -> str | None:
    """The room of a dilnas import; None for other packages and for ``dilnas.__version__``."""
    parts = name.split(".")
    if parts[0] != "dilnas" or parts[1:] == ["__version__"]:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"


def test_every_module_belongs_to_a_room():
    """A new room must be given its place in the order first."""
    assert {room_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_before_it(path):
    """Also inside functions: a late import hides a cycle, it does not undo it."""
    rank = RANK[room_of(path)]
    wrong = [
        f"{path.name}:{line} imports {name}"
        for line, name in imports_of(path)
        if (room := imported_room(name)) is not None and RANK[room] > rank
    ]
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_without_torch_never_import_it(path):
    """Cost of an architecture, a space or a run is known on a machine without torch."""
    room = room_of(path)
    banned = {"torch", "numpy"} if room in NO_NUMPY else {"torch"} if room in NO_TORCH else set()
    assert not banned & {name.split(".")[0] for _, name in imports_of(path)}


def run_python(code: str, *, timeout: float = 120) -> str:
    """Output of ``code`` in a fresh interpreter; fails with its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def loaded_after(statement: str, names: tuple[str, ...]) -> str:
    """Which of ``names`` are loaded once ``statement`` has run in a fresh interpreter."""
    return run_python(
        f"import sys\n{statement}\nprint(*[n for n in {names!r} if n in sys.modules])"
    )


@pytest.mark.parametrize("module", NO_NUMPY)
def test_plain_data_rooms_load_neither_torch_nor_numpy(module):
    """Not even through something else that they import."""
    assert loaded_after(f"import dilnas.{module}", ("torch", "numpy", "pandas")) == ""


@pytest.mark.parametrize("module", ["cost", "space", "space_report"])
def test_rooms_above_torch_do_not_load_it(module):
    """Not even through something else that they import."""
    assert loaded_after(f"import dilnas.{module}", ("torch", "pandas", "optuna", "ray")) == ""


@pytest.mark.parametrize("module", ["dilnas", "dilnas.cli", "dilnas.cli.app"])
def test_the_command_line_starts_without_heavy_imports(module):
    """``dilnas --help`` stays quick because these are loaded by the command that needs them."""
    heavy = ("torch", "numpy", "pandas", "scipy", *HEAVY)
    assert loaded_after(f"import {module}", heavy) == ""


BLOCK = f"""
import sys
from importlib.abc import MetaPathFinder

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize("room", [r for r in LEAN if (PACKAGE / r).is_dir() or r == "arch"])
def test_a_gpu_node_needs_no_more_than_torch_and_the_console_libraries(room):
    """The room imports where ray, optuna, fvcore, ptflops, … are not installed."""
    run_python(f"{BLOCK}\nimport dilnas.{room}")


def test_model_cost_and_profile_work_without_the_heavy_libraries():
    """A model is built and run, costed and profiled with torch and the console libraries alone."""
    code = f"""{BLOCK}
import torch
from dilnas.cost import cost
from dilnas.measure import profile
from dilnas.model import build_model
from dilnas.variants import variant

architecture = variant("tiny", num_classes=5)
with torch.inference_mode():
    print(tuple(build_model(architecture).eval()(torch.zeros(1, 3, 32, 64)).shape))
print(cost(architecture, 32, 64).params == profile(architecture, latency=False).cost.params)
"""
    assert run_python(code).split("\n") == ["(1, 5)", "True"]


@pytest.mark.parametrize("more", [[], ["--task", "detection"], ["--task", "segmentation"]])
def test_the_profile_command_works_without_the_heavy_libraries(more):
    """``dilnas profile`` answers on a bare GPU node, of dense tasks too."""
    words = ["profile", "--variant", "tiny", "--no-latency", "--json", *more]
    block = BLOCK.replace("'pydantic', ", "")  # what typer itself may load
    assert block != BLOCK
    assert '"params"' in run_python(f"{block}\nfrom dilnas.cli import main\nmain({words!r})")


def test_every_public_name_can_be_imported_from_dilnas():
    """The names of the README, each from a fresh interpreter's first line."""
    import dilnas

    names = ("Architecture", "Stage", "SearchSpace", "build_model", "cost", "profile", "search")
    names += ("compare", "export", "variant", "DilnasError", "__version__")
    assert set(dilnas.__all__) == set(names)
    assert set(names) <= set(dir(dilnas))
    code = f"from dilnas import {', '.join(names)}\nprint(*map(callable, ({', '.join(names)})))"
    assert run_python(code).split() == ["True"] * 11 + ["False"]


@pytest.mark.parametrize(
    "first",
    [
        "import dilnas.cost.arrays, dilnas.search.driver",
        "from dilnas.cost import cost_arrays",
        "from dilnas.search.settings import Settings",
        "from dilnas.measure import profile",
        "import dilnas.export.bundle",
    ],
)
def test_the_functions_named_like_a_room_stay_functions(first):
    """``dilnas.cost(...)`` and ``dilnas.search(...)`` work whatever was imported before."""
    code = f"{first}\nimport dilnas\nfrom dilnas import cost, search, variant"
    code += "\nprint(dilnas.cost is cost, callable(search), dilnas.cost(variant('tiny')).params)"
    code += "\nprint(callable(dilnas.export))"
    assert run_python(code).split() == ["True", "True", "17238744", "True"]


def test_an_unknown_public_name_is_an_attribute_error():
    """Not an ImportError of some room."""
    import dilnas

    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = dilnas.nope
