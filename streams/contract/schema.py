"""The feature schema: which raw values there are, and what becomes of them. A TOML file, hashed into every manifest.

name = "ads"

[[features]]
name = "campaign"            # as in events and requests
scope = "ad"                 # user | context | ad
kind = "categorical"         # categorical | dense | multivalued | sequence
dtype = "string"             # string | int | float (categorical and bags: string or int; float only with "log2")
table = "campaign"           # embedding table; features may share one
dim = 16
transforms = ["lower"]       # see streams/contract/values.py
max_length = 50              # bags: the newest so many values are kept

[[crosses]]
name = "user_x_campaign"
features = ["user_id", "campaign"]

[[counters]]                 # see streams/contract/counters.py
name = "campaign"
key = ["campaign"]
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from streams.contract.counters import TABLE_PREFIX, Counter, check_counters, prior_values
from streams.contract.errors import InputError

Scope = Literal["user", "context", "ad"]
Kind = Literal["categorical", "dense", "multivalued", "sequence"]
Dtype = Literal["string", "int", "float"]


class Feature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One raw value of a request or an ad, and how it enters the model."""

    name: str
    scope: Scope
    kind: Kind
    dtype: Dtype = "string"
    table: str = ""
    dim: int = 16
    transforms: tuple[str, ...] = ()
    max_length: int = 100
    default: float = 0.0

    @property
    def of_request(self) -> bool:
        """Whether the value stands once a request (user, context) rather than once a candidate."""
        return self.scope != "ad"


class Cross(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One id for a combination of single-valued categorical features."""

    name: str
    features: tuple[str, ...]
    table: str = ""
    dim: int = 16


class Sparse(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the KeyedJaggedTensor: a categorical feature, a bag, or a cross."""

    name: str
    table: str
    dim: int
    of_request: bool


class Schema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The features of one model, in the order in which it sees them."""

    name: str
    features: tuple[Feature, ...]
    crosses: tuple[Cross, ...] = ()
    counters: tuple[Counter, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @property
    def hash(self) -> str:
        """16 hex digits that change with anything that changes ids or dense values."""
        return hashlib.blake2b(_canonical(self), digest_size=8).hexdigest()

    def feature(self, name: str) -> Feature:
        """The feature of that name (it must exist)."""
        return next(feature for feature in self.features if feature.name == name)

    def dense(self, *, of_request: bool) -> list[Feature]:
        """The dense features of the request or of the ad, in order; what counters fill in is last."""
        own = [f for f in self.features if f.kind == "dense" and f.of_request == of_request]
        return own + self.counted(of_request=of_request)

    def counters_of(self, *, of_request: bool) -> list[Counter]:
        """The counters whose key belongs to the request alone, or those whose key takes an ad's feature, in order."""
        return [c for c in self.counters if all(self.feature(name).of_request for name in c.key) == of_request]

    def counted(self, *, of_request: bool) -> list[Feature]:
        """The dense features that counters fill in, in order: the priors first, on the request's side."""
        names = prior_values(self.counters) if of_request else []
        names += [value for counter in self.counters_of(of_request=of_request) for value in counter.values]
        scope: Scope = "context" if of_request else "ad"
        return [Feature(name=name, scope=scope, kind="dense", dtype="float") for name in names]

    def sparse(self, *, of_request: bool) -> list[Sparse]:
        """The sparse keys of the request or of the ad, crosses last, in order."""
        keys = [
            Sparse(name=f.name, table=f.table or f.name, dim=f.dim, of_request=f.of_request)
            for f in self.features
            if f.kind != "dense"
        ]
        for cross in self.crosses:
            parts = [self.feature(name) for name in cross.features]
            once = all(part.of_request for part in parts)
            keys.append(Sparse(name=cross.name, table=cross.table or cross.name, dim=cross.dim, of_request=once))
        return [key for key in keys if key.of_request == of_request]

    @property
    def tables(self) -> dict[str, int]:
        """Embedding tables in order of first use: name -> dimension."""
        keys = self.sparse(of_request=True) + self.sparse(of_request=False)
        return {key.table: key.dim for key in keys}


def _check(schema: Schema) -> None:
    _check_counters(schema)
    names = [f.name for f in schema.features] + [c.name for c in schema.crosses]
    names += [feature.name for side in (True, False) for feature in schema.counted(of_request=side)]
    for group, where in ((names, "features"), ([c.name for c in schema.counters], "counters")):
        twice = {name for name in group if group.count(name) > 1}
        if twice:
            raise InputError("stands twice in the schema", field=where, value=sorted(twice), remedy="rename one")
    for feature in schema.features:
        _check_feature(feature)
    for cross in schema.crosses:
        _check_cross(schema, cross)
    dims: dict[str, int] = {}
    for key in schema.sparse(of_request=True) + schema.sparse(of_request=False):
        if key.table.startswith(TABLE_PREFIX):
            raise InputError(f"begins with {TABLE_PREFIX}, as tables of counters do", field=f"{key.name}.table",
                             value=key.table, remedy="give the table another name")  # fmt: skip
        if dims.setdefault(key.table, key.dim) != key.dim:
            raise InputError(
                f"table {key.table} has dimension {dims[key.table]} elsewhere",
                field=f"{key.name}.dim",
                value=key.dim,
                remedy="give every feature of a table the same dim",
            )


def _check_counters(schema: Schema) -> None:
    for counter in schema.counters:
        if not counter.key:
            raise InputError("a counter needs a key", field=f"{counter.name}.key", value=counter.key,
                             remedy="name one categorical feature or more")  # fmt: skip
        _check_single(schema, counter.key, f"{counter.name}.key", "a counter's key is made of")
    check_counters(schema.counters)


def _check_feature(feature: Feature) -> None:
    from streams.contract.values import check_transforms

    if feature.kind == "dense" and feature.dtype != "float":
        raise InputError("a dense feature is a float", field=f"{feature.name}.dtype", value=feature.dtype,
                         remedy='set dtype = "float"')  # fmt: skip
    if feature.kind != "dense" and feature.dtype == "float" and "log2" not in feature.transforms:
        raise InputError("a float is no category", field=f"{feature.name}.dtype", value=feature.dtype,
                         remedy='add the transform "log2", or use kind = "dense"')  # fmt: skip
    if feature.dim < 1 or feature.max_length < 1:
        raise InputError("must be at least 1", field=f"{feature.name}.dim or max_length",
                         value=(feature.dim, feature.max_length))  # fmt: skip
    check_transforms(feature)


def _check_cross(schema: Schema, cross: Cross) -> None:
    if len(cross.features) < 2:
        raise InputError("a cross needs two features or more", field=f"{cross.name}.features", value=cross.features)
    _check_single(schema, cross.features, f"{cross.name}.features", "a cross combines")


def _check_single(schema: Schema, names: tuple[str, ...], field: str, what: str) -> None:
    for name in names:
        part = next((f for f in schema.features if f.name == name), None)
        if part is None or part.kind != "categorical":
            raise InputError(f"{what} single-valued categorical features of the schema", field=field, value=name)


def parse_schema(text: str) -> Schema:
    """The schema in TOML `text`. Raises InputError naming the field."""
    try:
        fields: dict[str, Any] = tomllib.loads(text)
        return msgspec.convert(fields, Schema)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not TOML: {error}", field="schema",
                         remedy="mend it, or give another file; streams/schemas/ has some") from error  # fmt: skip
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        what, _, path = str(error).partition(" - at ")
        raise InputError(what, field=f"schema{path.strip('`').removeprefix('$')}") from error


def load_schema(path: Path) -> Schema:
    """The schema in the TOML file at `path`. Raises InputError naming file and field."""
    try:
        return parse_schema(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", field="schema", value=str(path),
                         remedy="give a TOML file; streams/schemas/ has some") from error  # fmt: skip


def schema_to_json(schema: Schema) -> str:
    """The schema as canonical JSON, as it travels in a manifest."""
    return _canonical(schema).decode()


def _canonical(schema: Schema) -> bytes:
    """JSON in the order of the fields. A schema without counters says nothing of them: its hash is as it ever was."""
    fields = msgspec.to_builtins(schema)
    if not schema.counters:
        del fields["counters"]
    return msgspec.json.encode(fields)


def schema_from_json(text: str) -> Schema:
    """The inverse of `schema_to_json`. Raises InputError."""
    try:
        return msgspec.json.decode(text, type=Schema)
    except msgspec.MsgspecError as error:
        raise InputError(f"is not a schema: {error}", field="schema") from error
