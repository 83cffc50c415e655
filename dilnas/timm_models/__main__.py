"""``python -m dilnas.timm_models SCRIPT …``: a script of timm's, with dilnas's models registered.

    python -m dilnas.timm_models train.py --config recipe.yaml --model dilateformer \\
        --model-kwargs architecture=architecture.yaml --data-dir DATA

``torchrun -m dilnas.timm_models train.py …`` does the same on several GPUs. The recipe's
augmentation runs with any Pillow there.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def _run(words: list[str]) -> None:
    """Run ``words[0]`` as the main program with the others as its arguments."""
    from dilnas.errors import DilnasError, InputError

    try:
        if not words or not Path(words[0]).is_file():
            raise InputError(
                "a script is needed", where="dilnas.timm_models",
                expected="timm's train.py, validate.py, inference.py, …", got=words[:1] or None,
            )  # fmt: skip
        import dilnas.timm_models  # noqa: F401 - importing registers
        from dilnas.posterizing import mend_timm

        mend_timm()
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))  # as Python does for a script
        runpy.run_path(words[0], run_name="__main__")
    except DilnasError as error:
        sys.stderr.write(f"dilnas: error: {error}\n")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    _run(sys.argv[1:])
