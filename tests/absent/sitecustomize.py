"""Loaded by every Python process that has this folder on its path: TensorFlow is installed nowhere that it looks."""

import sys
from importlib.machinery import PathFinder
from typing import Any


class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        return (
            None
            if fullname.partition(".")[0] == "tensorflow"
            else super().find_spec(fullname, path, target)
        )


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
