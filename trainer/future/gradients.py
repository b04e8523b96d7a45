"""Gradients of mini-batches at a remembered theta, without learning anything."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from trainer.batch import labels_of
from trainer.future.gram import Gram, gram_of
from trainer.future.theta import GatheredRows, Theta
from trainer.learner import Learner
from trainer.prepare import Learnable

Halves = tuple[Learnable, Learnable]


def gram_at(learner: Learner, theta: Theta | None, rounds: Sequence[Halves]) -> Gram:
    """The Gram matrix of b + 1 rounds, newest first and the target last, each with two half-batches.

    The learner's vocabulary finds the rows; `theta` has their values, or None for the present ones. An
    id whose row `theta` does not have yet takes the default row.
    """
    found = [learner.find(half) for halves in rounds for half in halves]
    rows = GatheredRows(learner, found)
    values = rows.values(theta).requires_grad_()
    network = theta.network if theta else dict(learner.network.named_parameters())
    network = {name: value.detach().requires_grad_() for name, value in network.items()}
    flat = []
    for batch, half in zip(found, (half for halves in rounds for half in halves), strict=True):
        logits = functional_call(learner.network, network, rows.inputs(batch, values))
        label, weight = labels_of(half.examples, logits.device)
        loss = binary_cross_entropy_with_logits(logits, label, weight, reduction="sum") / len(half.examples)
        gradients = torch.autograd.grad(loss, [values, *network.values()])
        flat.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    return gram_of(torch.stack(flat).reshape(len(rounds), 2, -1).cpu().numpy())
