"""Triton's entry to the recommender; as with the ranker, whoever starts Triton says where to look."""

import os
import sys

sys.path[:0] = [path for path in os.environ.get("FRESHET_PYTHON_PATH", "").split(os.pathsep) if path]

from serving.triton.recommender_model import RecommenderModel as TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
