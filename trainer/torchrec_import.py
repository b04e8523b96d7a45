"""The one place where TorchRec is imported: its import warns and logs about things that concern nobody here.

TorchRec and FBGEMM register operators and probe for GPUs as they are imported, which raises
DeprecationWarnings (errors under our tests) and logs about FX and missing compatibility tables.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _quietly() -> Iterator[None]:
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)


with _quietly():
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        CounterBasedRegularizationDefinition,
        GradSumDecay,
        LearningRateMode,
        WeightDecayMode,
    )
    from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
    from torchrec.optim import RowWiseAdagrad
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

__all__ = [
    "CounterBasedRegularizationDefinition",
    "EmbeddingBagConfig",
    "FusedEmbeddingBagCollection",
    "GradSumDecay",
    "KeyedJaggedTensor",
    "LearningRateMode",
    "PoolingType",
    "RowWiseAdagrad",
    "WeightDecayMode",
    "dlrm_class",
]


def dlrm_class() -> Any:
    """TorchRec's DLRM, imported when it is asked for: nothing that is served or trained needs it."""
    with _quietly():
        from torch.fx._symbolic_trace import is_fx_tracing
        from torchrec.models.dlrm import DLRM

        # A forward asks it, and whoever is the first to ask is warned.
        is_fx_tracing()
    return DLRM
