"""Training: proxies, which compare candidates rung by rung, and full training by a recipe."""

from dilnas.train.full import TrainingResult, full_training
from dilnas.train.full_recipe import TrainRecipe, read_recipe
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
    "TrainRecipe",
    "Trained",
    "Trainer",
    "TrainingResult",
    "evaluate",
    "full_training",
    "proxy",
    "proxy_architecture",
    "read_recipe",
    "train_to_rung",
    "trained_model",
]
