"""A peer from its settings."""

from __future__ import annotations

from streams.contract.schema import Schema
from trainer.peers.config import PeerConfig
from trainer.peers.lightgbm_refit import LightGbm, LightGbmConfig
from trainer.peers.peer import Peer
from trainer.peers.river_ffm import RiverFfm, RiverFfmConfig
from trainer.peers.river_lr import RiverLr, RiverLrConfig
from trainer.peers.torchrec_dlrm import TorchRecConfig, TorchRecDlrm
from trainer.peers.vw import VowpalWabbit, VwConfig


def build_peer(schema: Schema, config: PeerConfig) -> Peer:
    """The peer, untrained. Raises InputError where its package is absent."""
    match config:
        case VwConfig():
            return VowpalWabbit(schema, config)
        case RiverLrConfig():
            return RiverLr(schema, config)
        case RiverFfmConfig():
            return RiverFfm(schema, config)
        case LightGbmConfig():
            return LightGbm(schema, config)
        case TorchRecConfig():
            return TorchRecDlrm(schema, config)
    raise AssertionError(f"no peer has settings of the kind {type(config).__name__}")
