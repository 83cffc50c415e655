"""Build step: the search spaces of the repository travel in the wheel. Metadata: pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSpaces(build_py):
    """Copies ``search_spaces/*.yaml`` to ``dilnas/_embedded/search_spaces/`` of the build."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself is used, with its own folder
            return
        target = Path(self.build_lib) / "dilnas" / "_embedded" / "search_spaces"
        self.mkpath(str(target))
        for path in sorted(Path("search_spaces").glob("*.yaml")):
            self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithSpaces})
