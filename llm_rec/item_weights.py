"""Linear weights from item to item in closed form, of likes and of texts.

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equations 4 to 8 and algorithm 1:
with G = X'X + lambda I and P = inverse of G, the weights are B_ij = -P_ij / P_jj and B_jj = 0. Texts come in as
in Jeunen et al., "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020: each word is
one more user, who likes the items whose texts have it. Where there are too many items for a dense matrix, the most
liked ones have weights. J items, W words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from streams.contract.columns import Array
from streams.contract.errors import TooLargeError

Matrix = npt.NDArray[np.float64]
MOST_ITEMS = 20_000
"""The inverse of as many items takes 3.2 GB, and half as much again while it is made."""
_WORD = re.compile(r"\w+")
_LEAST_TEXTS = 2


def liked_together(likes: Sequence[Array], num_items: int) -> Matrix:
    """X'X (J, J): how many users like both; `likes` are item numbers of each user.

    Raises TooLargeError beyond MOST_ITEMS items.
    """
    if num_items > MOST_ITEMS:
        raise TooLargeError(f"item weights are the inverse of a matrix of at most {MOST_ITEMS} items", field="items",
                            value=num_items, remedy="leave out what needs them, or take fewer items")  # fmt: skip
    gram = np.zeros((num_items, num_items))
    for items in likes:
        gram[np.ix_(items, items)] += 1
    return gram


def most_liked(likes: Sequence[Array], num_items: int) -> Array:
    """Numbers of the items that a dense matrix has room for, ascending: all, or the MOST_ITEMS that are liked most."""
    counts = np.bincount(np.concatenate([*likes, np.zeros(0, dtype=np.int64)]), minlength=num_items)
    return np.sort(np.argsort(-counts, kind="stable")[:MOST_ITEMS])


def worded_alike(words: csr_array) -> Matrix:
    """(J, J): cosines of the items' words (J, W), which are some rows of `words_of`."""
    alike: Matrix = (words @ words.T).toarray()
    return alike


def words_of(texts: Sequence[str]) -> csr_array:
    """(J, W), rows of length 1: each word of at least two texts weighted by ln(J / its texts); 0 without any."""
    words = [set(_WORD.findall(text.lower())) for text in texts]
    counts = Counter(word for each in words for word in each)
    column = {word: number for number, word in enumerate(w for w, count in counts.items() if count >= _LEAST_TEXTS)}
    kept = [sorted(column[word] for word in each & column.keys()) for each in words]
    rows = np.repeat(np.arange(len(texts)), [len(each) for each in kept])
    columns = np.array([number for each in kept for number in each], dtype=np.int64)
    rarity = np.log(len(texts) / np.array([counts[word] for word in column], dtype=np.float64))
    lengths = np.sqrt(np.bincount(rows, weights=rarity[columns] ** 2, minlength=len(texts)))
    values = rarity[columns] / np.maximum(lengths[rows], np.finfo(np.float64).tiny)
    return csr_array((values, (rows, columns)), shape=(len(texts), len(column)))


def closed_form(gram: Matrix, l2: float) -> Matrix:
    """B (J, J) of X'X (J, J): column j has the weights that tell item j."""
    diagonal = np.diag_indices(len(gram))
    regularised = gram.copy()
    regularised[diagonal] += l2
    inverse = np.linalg.inv(regularised)
    weights: Matrix = inverse / -np.diag(inverse)
    weights[diagonal] = 0
    return weights
