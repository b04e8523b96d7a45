"""Rows shaped like Criteo's, with drift and a known probability: 26 categories and 13 numbers.

    request   C1 ... C18 (int ids), I1 ... I9          ad   C19 ... C26, I10 ... I13

A field's values come log-uniformly (Zipf's law with exponent 1). The logit is the sum of a weight a
value, a weight a number, and the product of request and ad in a small latent space; each weight
turns slowly from one draw to another, w(t) = w0 cos(a t) + w1 sin(a t), so the best model changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Column
from streams.contract.events import Impression, Value
from streams.contract.examples import ExampleBatch
from streams.datasets.clock import ORDER_START_MS
from streams.datasets.observed import Observed, clicks

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

REQUEST_CATEGORIES = tuple(f"C{i}" for i in range(1, 19))
AD_CATEGORIES = tuple(f"C{i}" for i in range(19, 27))
REQUEST_NUMBERS = tuple(f"I{i}" for i in range(1, 10))
AD_NUMBERS = tuple(f"I{i}" for i in range(10, 14))
CATEGORIES = REQUEST_CATEGORIES + AD_CATEGORIES
NUMBERS = REQUEST_NUMBERS + AD_NUMBERS


@dataclass(frozen=True, kw_only=True)
class CriteoShape:
    """Sizes and strengths. Scales are standard deviations on the logit; times are counted in examples."""

    mean_ctr: float = 0.1
    smallest_vocabulary: int = 10
    largest_vocabulary: int = 200_000
    category_scale: float = 0.26
    number_scale: float = 0.15
    latent_scale: float = 0.65
    latent_dim: int = 4
    examples_per_quarter_turn: int = 2_000_000
    candidates_per_request: int = 1
    chunk_size: int = 4_096
    milliseconds_per_request: int = 10


@dataclass(frozen=True, slots=True)
class _Turning:
    """Weights between two draws."""

    first: Floats
    second: Floats

    def at(self, turn: float, rows: Ints | slice = slice(None)) -> Floats:
        now: Floats = np.cos(turn) * self.first[rows] + np.sin(turn) * self.second[rows]
        return now


@dataclass(slots=True)
class _World:
    """The weights; categories of field f stand from `starts[f]` on. `sizes` (26,)."""

    shape: CriteoShape
    sizes: Ints
    starts: Ints
    category: _Turning
    number: _Turning
    latent: _Turning
    intercept: float = field(default=0.0)


def criteo_shaped(num_examples: int, seed: int, shape: CriteoShape | None = None) -> Iterator[ExampleBatch]:
    """Batches of about `chunk_size` examples with true probabilities, `num_examples` in all; kind `click`.

    `candidates_per_request` examples share a request. The Bayes-optimal log loss is that of
    `true_probability`.
    """
    shape = shape or CriteoShape()
    rng = np.random.default_rng(seed)
    world = _make_world(shape, rng)
    # a request's candidates stay in one batch
    batch_size = max(1, shape.chunk_size // shape.candidates_per_request) * shape.candidates_per_request
    for made in range(0, num_examples, batch_size):
        yield _batch(world, rng, made, min(batch_size, num_examples - made))


def _make_world(shape: CriteoShape, rng: np.random.Generator) -> _World:
    sizes = np.geomspace(shape.smallest_vocabulary, shape.largest_vocabulary, len(CATEGORIES)).astype(np.int64)
    sizes = rng.permutation(sizes)
    starts = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    # a latent product sums over the fields of both sides and the latent dimensions
    summands = len(REQUEST_CATEGORIES) * len(AD_CATEGORIES) * shape.latent_dim
    latent_scale = np.sqrt(shape.latent_scale / np.sqrt(summands))
    world = _World(
        shape,
        sizes,
        starts,
        _turning(rng, shape.category_scale, (total,)),
        _turning(rng, shape.number_scale, (len(NUMBERS),)),
        _turning(rng, float(latent_scale), (total, shape.latent_dim)),
    )
    _calibrate(world, rng)
    return world


def _turning(rng: np.random.Generator, scale: float, size: tuple[int, ...]) -> _Turning:
    return _Turning(rng.normal(0.0, scale, size), rng.normal(0.0, scale, size))


def _calibrate(world: _World, rng: np.random.Generator, rows: int = 20_000) -> None:
    logits = _logits(world, _draw_categories(world, rng, rows), _draw_numbers(rng, rows, len(NUMBERS)), 0.0)
    low, high = -20.0, 20.0
    for _ in range(50):
        world.intercept = (low + high) / 2
        too_many = (1.0 / (1.0 + np.exp(-logits - world.intercept))).mean() > world.shape.mean_ctr
        low, high = (low, world.intercept) if too_many else (world.intercept, high)


def _draw_categories(world: _World, rng: np.random.Generator, rows: int, fields: slice = slice(None)) -> Ints:
    """(rows, fields): small values often, large ones seldom."""
    sizes = world.sizes[fields]
    return np.minimum((sizes + 1.0) ** rng.random((rows, len(sizes))) - 1.0, sizes - 1).astype(np.int64)


def _draw_numbers(rng: np.random.Generator, rows: int, fields: int) -> Floats:
    """(rows, fields) counts: whole, 0 or more, long-tailed."""
    counts: Floats = np.floor(rng.lognormal(1.0, 1.2, (rows, fields)))
    return counts


def _logits(world: _World, categories: Ints, numbers: Floats, turn: float) -> Floats:
    """(E,) from categories (E, 26) and numbers (E, 13)."""
    rows = categories + world.starts
    latent = world.latent.at(turn, rows)
    request = latent[:, : len(REQUEST_CATEGORIES)].sum(axis=1)
    ad = latent[:, len(REQUEST_CATEGORIES) :].sum(axis=1)
    centred = np.log1p(numbers) - 1.3
    logits: Floats = (
        world.category.at(turn, rows).sum(axis=1) + centred @ world.number.at(turn) + (request * ad).sum(axis=1)
    )
    logits += world.intercept
    return logits


def _batch(world: _World, rng: np.random.Generator, made: int, examples: int) -> ExampleBatch:
    shape = world.shape
    index = (np.arange(examples) // shape.candidates_per_request).astype(np.int32)
    requests = int(index[-1]) + 1
    split, split_numbers = len(REQUEST_CATEGORIES), len(REQUEST_NUMBERS)
    request_categories = _draw_categories(world, rng, requests, slice(split))
    request_numbers = _draw_numbers(rng, requests, split_numbers)
    ad_categories = _draw_categories(world, rng, examples, slice(split, None))
    ad_numbers = _draw_numbers(rng, examples, len(AD_NUMBERS))
    turn = 0.5 * np.pi * made / shape.examples_per_quarter_turn
    categories = np.concatenate([request_categories[index], ad_categories], axis=1)
    numbers = np.concatenate([request_numbers[index], ad_numbers], axis=1)
    true = 1.0 / (1.0 + np.exp(-_logits(world, categories, numbers, float(turn))))
    label = (rng.random(examples) < true).astype(np.float32)
    first = made // shape.candidates_per_request
    times = ORDER_START_MS + shape.milliseconds_per_request * np.arange(first, first + requests)
    request = _columns(REQUEST_CATEGORIES, request_categories) | _columns(REQUEST_NUMBERS, request_numbers)
    candidate = _columns(AD_CATEGORIES, ad_categories) | _columns(AD_NUMBERS, ad_numbers)
    return _example_batch(times, made, index, label, true, request, candidate)


def _columns(names: tuple[str, ...], values: Ints | Floats) -> dict[str, Column]:
    return {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(names)}


def _example_batch(
    times: Ints,
    made: int,
    index: npt.NDArray[np.int32],
    label: npt.NDArray[np.float32],
    true: Floats,
    request: dict[str, Column],
    candidate: dict[str, Column],
) -> ExampleBatch:
    requests, examples = len(times), len(index)
    names = [f"row-{made + int(first)}" for first in np.searchsorted(index, np.arange(requests))]
    unknown = np.full(examples, np.nan, dtype=np.float32)
    nothing = np.full(examples, -1, dtype=np.int64)
    return ExampleBatch(
        kind="click",
        impression_id=names,
        unit_id=names,
        session_id=names,
        arm=["default"] * requests,
        version=np.zeros(requests, dtype=np.int64),
        generation=np.zeros(requests, dtype=np.int64),
        event_time_ms=times,
        request=request,
        ad_id=[f"ad-{row}" for row in range(made, made + examples)],
        request_index=index,
        position=nothing.astype(np.int32),
        label=label,
        weight=np.ones(examples, dtype=np.float32),
        predicted=unknown,
        propensity=unknown,
        true_probability=true.astype(np.float32),
        value=label,
        delay_ms=nothing,
        decided_ingest_ms=np.zeros(examples, dtype=np.int64),
        decided_time_ms=times[index],
        correction=np.zeros(examples, dtype=np.bool_),
        candidate=candidate,
    )


def criteo_shaped_observations(num_impressions: int, seed: int, shape: CriteoShape | None = None) -> Iterator[Observed]:
    """The same rows as impressions; `shape` must have one candidate a request."""
    for batch in criteo_shaped(num_impressions, seed, shape):
        request = {name: _values(column) for name, column in batch.request.items()}
        candidate = {name: _values(column) for name, column in batch.candidate.items()}
        for row, impression_id in enumerate(batch.impression_id):
            impression = Impression(
                event_id=f"criteo-shaped-{seed}-{impression_id}",
                event_time_ms=int(batch.event_time_ms[row]),
                session_id=impression_id,
                unit_id=impression_id,
                ad_ids=[batch.ad_id[row]],
                context={name: column[row] for name, column in request.items()},
                candidates={name: [column[row]] for name, column in candidate.items()},
                true_probabilities=[float(batch.true_probability[row])],
            )
            yield Observed(impression, clicks(impression, impression.ad_ids if batch.label[row] else []))


def _values(column: Column) -> list[Value]:
    assert isinstance(column, np.ndarray)
    values: list[Value] = column.tolist()
    return values
