"""Dot products of pairs among a row's vectors, and their gradient in one product.

    vectors X (V, D) of one row     products G = X X^T (V, V), of which P pairs are taken
    gradient of X                   S X, where S (V, V) holds each pair's gradient at (i, j) and at (j, i)

Left to autograd, the gradient is a scatter and two products that are added up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Pairs(nn.Module):
    """Dot products of chosen pairs among V vectors."""

    places: Tensor
    """(P,): where in a flattened (V, V) each pair stands."""
    mirrored: Tensor
    """(V * V,): which pair's gradient belongs there; P where none does."""

    def __init__(self, num_vectors: int, first: Tensor, second: Tensor) -> None:
        """Pair p is of vectors first[p] and second[p], both (P,) int64; no vector with itself, no pair twice."""
        super().__init__()
        places, flipped = first * num_vectors + second, second * num_vectors + first
        mirrored = torch.full((num_vectors * num_vectors,), len(places))
        mirrored[places] = mirrored[flipped] = torch.arange(len(places))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("mirrored", mirrored, persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, V, D) -> (N, P)."""
        if torch.is_grad_enabled():
            products: Tensor = _Products.apply(vectors, self.places, self.mirrored)  # type: ignore[no-untyped-call]
            return products
        return _products(vectors, self.places)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, mirrored: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, mirrored)
        return _products(vectors, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        vectors, mirrored = ctx.saved_tensors
        num_rows, num_vectors, _ = vectors.shape
        of_pairs = gradients[0].to(vectors.dtype)  # the products are of lower precision under autocast
        padded = torch.cat([of_pairs, of_pairs.new_zeros(num_rows, 1)], 1)
        symmetric = padded.index_select(1, mirrored).view(num_rows, num_vectors, num_vectors)
        return torch.bmm(symmetric, vectors), None, None


def _products(vectors: Tensor, places: Tensor) -> Tensor:
    return torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, places)
