"""Triton's entry to the scorer. Its interpreter does not read PYTHONPATH, so whoever starts it says where to look."""

import os
import sys

sys.path[:0] = [path for path in os.environ.get("FRESHET_PYTHON_PATH", "").split(os.pathsep) if path]

from serving.triton.ranker_model import RankerModel as TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
