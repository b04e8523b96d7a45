"""The methods. v: label; IP, DP: clicked within the window, after it; RN, FN: never, not yet clicked.

    stream of the join      first emission of every example, v = clicked within the window
                            correction of every DP, v = 1

Each is unbiased where its heads are right: p = 0.2 of which dp = 0.05 is learnt as 0.2000.
"""

from __future__ import annotations

import torch
from torch import Tensor

from streams.contract.errors import InputError
from trainer.delayed.config import MethodName
from trainer.delayed.method import Arrived, Method, Weights


class _OddsOfLate:
    """The head's own loss as in FNC: every example is a negative at once, a late click one positive more."""

    def weigh_late(self, dp: Tensor, correction: Tensor) -> Weights:
        return _odds(dp, correction.to(dp.dtype), ~correction)


class Plain(_OddsOfLate):
    """What comes is learnt as it is. A late click counts as a negative and a positive: biased to p / (1 + dp)."""

    needs_heads = False

    def weigh(self, arrived: Arrived) -> Weights:
        return Weights(arrived.label, 1 - arrived.label)


class Fnw(_OddsOfLate):
    """Fake negatives weighted (Ktena et al. 2019): -v [1+f] log f - (1-v) [(1-f)(1+f)] log(1-f).

    It wants every example as a negative first: a click within the window is learnt as both.
    """

    needs_heads = False

    def weigh(self, arrived: Arrived) -> Weights:
        f, is_first = arrived.f, ~arrived.correction
        return Weights(arrived.label * (1 + f), is_first * (1 - f) * (1 + f))


class Fnc(_OddsOfLate):
    """Fake negatives calibrated (Ktena et al. 2019): cross-entropy of q = f / (1 + f), so that f = q / (1 - q).

    The paper learns q and serves q / (1 - q), clipped. Here the network's logit is that of q / (1 - q) itself,
    and q <= 1/2 by construction: nothing is left to be done where it is served.
    """

    needs_heads = False

    def weigh(self, arrived: Arrived) -> Weights:
        return _odds(arrived.f, arrived.label, ~arrived.correction)


class EsDfm(_OddsOfLate):
    """Elapsed-time sampling (Yang et al. 2021): -v [1+dp] log f - (1-v) [(1+dp) rn] log(1-f)."""

    needs_heads = True

    def weigh(self, arrived: Arrived) -> Weights:
        scale = 1 + arrived.dp
        return Weights(arrived.label * scale, (1 - arrived.label) * scale * arrived.rn)


class Defer(_OddsOfLate):
    """Real negatives (Gu et al. 2021): -v [f/(f-dp/2)] log f - (1-v) [(1-f)/(1-f+dp/2)] log(1-f).

    It wants every example twice, as it is emitted and with its final label. The join does not say that an example
    stays a negative, so both copies are learnt at first, each with weight 1/2, and a correction takes one of the
    negatives back for a positive: the same sums, the second copy earlier.
    """

    needs_heads = True

    def weigh(self, arrived: Arrived) -> Weights:
        f, label = arrived.f, arrived.label
        half_late = torch.minimum(arrived.dp, f) / 2
        of_positive, of_negative = f / (f - half_late), (1 - f) / (1 - f + half_late)
        is_late = arrived.correction.to(f.dtype)
        return Weights(label * of_positive * (1 - is_late / 2), (1 - label - is_late / 2) * of_negative)


class Defuse(_OddsOfLate):
    """Unbiased weights of four kinds (Chen et al. 2022) on the stream of ES-DFM, with z = 1 - rn:

    IP (1+dp) log f, DP log f, without a click z dp log f + (1-z) (1+dp) log(1-f).
    """

    needs_heads = True

    def weigh(self, arrived: Arrived) -> Weights:
        label, dp = arrived.label, arrived.dp
        fake = 1 - arrived.rn
        of_click = torch.where(arrived.correction, 1.0, 1 + dp)
        return Weights(
            label * of_click + (1 - label) * fake * dp,
            (1 - label) * (1 - fake) * (1 + dp),
        )


class BiDefuse:
    """Two parts (Chen et al. 2022): p = F_IP + F_DP, F_IP by cross-entropy of the label in the window.

    The model is the sum itself and F_IP = f - dp, so that what is served needs no second network. F_DP is the
    head, learnt by DEFUSE with window 0 and z = dp: corrections reach the head alone.
    """

    needs_heads = True

    def weigh(self, arrived: Arrived) -> Weights:
        f, label, is_first = arrived.f, arrived.label, ~arrived.correction
        late = torch.minimum(arrived.dp, _MOST_LATE * f)
        return Weights(is_first * label * f / (f - late), is_first * (1 - label) * (1 - f) / (1 - f + late))

    def weigh_late(self, dp: Tensor, correction: Tensor) -> Weights:
        is_first = ~correction
        return Weights(is_first * dp * dp + correction.to(dp.dtype), is_first * (1 - dp) * (1 + dp))


_MOST_LATE = 0.95
"""Of a probability, at most so much is taken for late: an in-window click then weighs 20 at most."""

_METHODS: dict[MethodName, Method] = {
    "plain": Plain(),
    "fnw": Fnw(),
    "fnc": Fnc(),
    "es-dfm": EsDfm(),
    "defer": Defer(),
    "defuse": Defuse(),
    "bi-defuse": BiDefuse(),
}


def method_names() -> list[MethodName]:
    """The names that `method_of` takes."""
    return list(_METHODS)


def method_of(name: MethodName) -> Method:
    """The method of that name. Raises InputError listing the names where there is none."""
    method = _METHODS.get(name)
    if method is None:
        raise InputError("is no method of delayed feedback", field="delayed.method", value=name,
                         remedy=f"use one of {', '.join(_METHODS)}")  # fmt: skip
    return method


def _odds(f: Tensor, label: Tensor, is_first: Tensor) -> Weights:
    """The gradient of the cross-entropy of q = f / (1 + f), as weights of log f and log(1 - f)."""
    return Weights(label / (1 + f), is_first * (1 - f) / (1 + f))
