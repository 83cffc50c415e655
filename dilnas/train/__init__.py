"""The one trainer; a proxy is this trainer at low fidelity, a rung a fidelity to compare at."""

from dilnas.train.proxy import PROXIES, Proxy, proxy, proxy_architecture
from dilnas.train.recipe import Recipe
from dilnas.train.rungs import RungResult, evaluate, train_to_rung
from dilnas.train.trained import Trained, trained_model
from dilnas.train.trainer import FitResult, Trainer

__all__ = [
    "PROXIES",
    "FitResult",
    "Proxy",
    "Recipe",
    "RungResult",
    "Trained",
    "Trainer",
    "evaluate",
    "proxy",
    "proxy_architecture",
    "train_to_rung",
    "trained_model",
]
