"""The peers' names, and the settings that each runs with.

They are the best by mean normalized entropy of 6 to 12 tried for each, on the first 4,000 impressions (about 20,000
examples) of `simulator:drift` and of Globo's clicks with uniform negatives, on raw features, with one seed; of
`river-ffm`, which is slow, the best of five on the first 1,000. What was found stands in docs/peers.md.
"""

from __future__ import annotations

from collections.abc import Callable

from trainer.dense_optimizer import DenseOptimizerConfig
from trainer.peers.config import PeerConfig
from trainer.peers.lightgbm_refit import LightGbmConfig
from trainer.peers.river_ffm import RiverFfmConfig
from trainer.peers.river_lr import RiverLrConfig
from trainer.peers.torchrec_dlrm import TorchRecConfig
from trainer.peers.vw import VwConfig

COUNTERS_SUFFIX = "-counters"


def vw_ftrl() -> VwConfig:
    """Vowpal Wabbit `--ftrl`, without pairs."""
    return VwConfig(learner="ftrl", alpha=0.2, numbers="buckets")


def vw_coin() -> VwConfig:
    """Vowpal Wabbit `-q :: --coin`, with a weight for every pair of features."""
    return VwConfig(learner="coin", quadratic=True, bits=24)


def river_lr() -> RiverLrConfig:
    """River's logistic regression."""
    return RiverLrConfig(optimizer="ftrl", learning_rate=0.2, numbers="buckets")


def river_ffm() -> RiverFfmConfig:
    """River's field-aware factorisation machine."""
    return RiverFfmConfig(weight_rate=0.05, latent_rate=0.05, latent_scale=0.02, numbers="buckets")


def lightgbm() -> LightGbmConfig:
    """LightGBM, fitted every 5,000 examples on the last 200,000."""
    return LightGbmConfig(first_fit=1_000, refit_every=5_000, num_leaves=7)


def torchrec() -> TorchRecConfig:
    """TorchRec's DLRM with fused row-wise Adagrad for the tables, Adam for the network."""
    return TorchRecConfig(table_rate=0.2, optimizer=DenseOptimizerConfig(kind="adam", learning_rate=0.001))


_PEERS: dict[str, Callable[[], PeerConfig]] = {
    "vw-ftrl": vw_ftrl,
    "vw-coin": vw_coin,
    "river-lr": river_lr,
    "river-ffm": river_ffm,
    "lightgbm": lightgbm,
    "torchrec": torchrec,
}


def peer_names() -> list[str]:
    """All peers, each on the raw features and with the schema's counters as further numbers."""
    return [f"{name}{suffix}" for name in _PEERS for suffix in ("", COUNTERS_SUFFIX)]


def peer_named(name: str) -> PeerConfig | None:
    """The settings of the peer of that name, which are the same with counters; None where there is none."""
    make = _PEERS.get(name.removesuffix(COUNTERS_SUFFIX))
    return None if make is None else make()
