"""The dense network that a config names, over the inputs that a schema names."""

from __future__ import annotations

from typing import Any, Union

import msgspec
import numpy as np
import torch

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.schema import Schema
from trainer.model.dcn import Dcn, DcnConfig
from trainer.model.dense import DenseNetwork, shape_of
from trainer.model.dlrm import Dlrm, DlrmConfig

NetworkConfig = Union[DlrmConfig, DcnConfig]


def build_network(schema: Schema, config: NetworkConfig) -> DenseNetwork:
    """The untrained network, the same for the same arguments. Raises InputError naming what cannot be built."""
    shape = shape_of(schema)
    return Dlrm(shape, config) if isinstance(config, DlrmConfig) else Dcn(shape, config)


def describe_network(config: NetworkConfig) -> dict[str, Any]:
    """What Generation.network says of the architecture: {"architecture": "dlrm" | "dcn", config's fields}."""
    name = "dlrm" if isinstance(config, DlrmConfig) else "dcn"
    return {"architecture": name, **msgspec.to_builtins(config)}


def network_config_from(description: dict[str, Any]) -> NetworkConfig:
    """The inverse of `describe_network`. Raises FormatError."""
    fields = dict(description)
    kinds: dict[object, type[NetworkConfig]] = {"dlrm": DlrmConfig, "dcn": DcnConfig}
    kind = kinds.get(fields.pop("architecture", None))
    if kind is None:
        raise FormatError("is no network", field="network.architecture", value=description.get("architecture"),
                          remedy=f"use one of {', '.join(map(str, kinds))}")  # fmt: skip
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise FormatError(f"is no network: {error}", field="network", value=description) from error


def network_state(network: DenseNetwork) -> dict[str, Array]:
    """name -> parameter, float32: views, which the next optimizer step changes."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def load_network_state(network: DenseNetwork, state: dict[str, Array]) -> None:
    """The inverse of `network_state`. Raises FormatError where names or shapes differ."""
    own = network.state_dict()
    wrong = sorted(set(own) ^ set(state)) + [
        name for name in own if name in state and tuple(own[name].shape) != state[name].shape
    ]
    if wrong:
        raise FormatError("is missing, unknown or of another shape", field="dense", value=wrong,
                          remedy="use the network config that the weights were made with")  # fmt: skip
    network.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
