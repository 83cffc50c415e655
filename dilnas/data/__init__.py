"""Data sets by name or path, decoded once into memory; one of them travels with the package."""

from dilnas.data.load import load_data
from dilnas.data.sets import DataSplits, ImageSet

__all__ = ["DataSplits", "ImageSet", "load_data"]
