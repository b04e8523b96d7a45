"""The one place where TorchRec is imported: its import warns and logs about things that concern nobody here.

TorchRec and FBGEMM register operators and probe for GPUs as they are imported, which raises
DeprecationWarnings (errors under our tests) and logs about FX and missing compatibility tables.
"""

from __future__ import annotations

import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
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
    finally:
        logging.disable(_disabled)

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
]
