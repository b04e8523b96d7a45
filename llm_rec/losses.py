"""What CLLM4Rec minimises: language losses on main texts, mutual regularisation, multinomial fine-tuning.

Shapes: B rows, T tokens, d width, I users, J items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import Batch
from llm_rec.softmax import negative_log_likelihood
from llm_rec.switches import Switches
from streams.contract.columns import Array


def language_loss(states: Tensor, batch: Batch, head: Tensor, first_token: int, *, skip_first: bool) -> Tensor:
    """The mean of -ln p(token | all left of it) over the main texts' tokens (Zhu et al. 2024, eq. 4 and 5).

    states (B, T, d); head (J or N, d), whose row 0 is token `first_token`. With `skip_first` no loss is
    taken on a main text's first token. 0 where no token is left.
    """
    predicted = batch.in_main
    if skip_first:
        places = torch.arange(batch.tokens.shape[1], device=batch.tokens.device).unsqueeze(0)
        predicted = predicted & (places > batch.main_from.unsqueeze(1))
    predicted = predicted[:, 1:]
    hidden = states[:, :-1][predicted].float()
    if not len(hidden):
        return states.sum() * 0.0
    targets = batch.tokens[:, 1:][predicted] - first_token
    rows = torch.arange(len(hidden), device=hidden.device)
    return negative_log_likelihood(hidden, head, rows, targets).mean()


def multinomial_loss(hidden: Tensor, head: Tensor, targets: Sequence[Array]) -> Tensor:
    """-sum_j r_j ln softmax(hidden head^T)_j, averaged over rows: hidden (B, d), head (J, d), item numbers a row."""
    rows = np.repeat(np.arange(len(targets)), [len(row) for row in targets])
    device = hidden.device
    return negative_log_likelihood(
        hidden, head, torch.from_numpy(rows).to(device), torch.from_numpy(np.concatenate(targets)).to(device)
    ).sum() / len(targets)


def mutual_regularisation(own: Tensor, other: Tensor, rows: Tensor, switches: Switches) -> Tensor:
    """lambda_c times the distance of the tables' `rows` (K,), each counted as often as it stands there.

    own, other (I + J, d); other is held constant. `half_l2_mean`: the mean over rows of half the squared
    distance, as in the paper; `sum`: the sum of squared distances, as in the reference code.
    """
    return switches.lambda_c * _length(own[rows] - other.detach()[rows], switches)


def prior(own: Tensor, rows: Tensor, switches: Switches) -> Tensor:
    """lambda_l times the squared length of the table's rows (K,), in the same measure."""
    return switches.lambda_l * _length(own[rows], switches)


def _length(vectors: Tensor, switches: Switches) -> Tensor:
    if switches.regulariser == "sum":
        return vectors.square().sum()
    return vectors.square().sum() / (2 * max(1, len(vectors)))
