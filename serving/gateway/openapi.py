"""The OpenAPI 3.1 document of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from serving.gateway.operations import Operation
from serving.gateway.wire import ErrorAnswer

_REF = "#/components/schemas/{name}"
_ALWAYS = {401: "No valid API key, where keys are asked for.", 403: "The key lacks the role."}


def openapi_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Paths and schemas of all operations."""
    types = {t for o in operations for t in (o.body, o.answer) if t is not None} | {ErrorAnswer}
    _, components = msgspec.json.schema_components(sorted(types, key=repr), ref_template=_REF)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freshet gateway", "version": version,
                 "description": "Ranks ads with a model that learns from their clicks as they come in."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "fk_ID_SECRET"}},
        },
    }  # fmt: skip


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "responses": {str(operation.status): _answer(operation), **_errors(operation)},
    }
    parameters = [_parameter(name, "path", "") for name in re.findall(r"{(\w+)}", operation.path)]
    parameters += [_parameter(name, "header", text) for name, text in operation.headers.items()]
    parameters += [_parameter(name, "query", text, "string") for name, text in operation.query.items()]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {media: {"schema": _schema(operation.body)} for media in operation.body_media}
        described["requestBody"] = {"required": True, "content": content}
    if operation.access != "open":
        described["security"] = [{}, {"key": []}]
    return described


def _parameter(name: str, place: str, text: str, type_: str = "integer") -> dict[str, Any]:
    kind: dict[str, Any] = {"type": type_, **({"minimum": 0} if type_ == "integer" else {})}
    return {"name": name, "in": place, "required": place == "path", "description": text, "schema": kind}


def _answer(operation: Operation) -> dict[str, Any]:
    schema = {"type": "string"} if operation.answer is None else _schema(operation.answer)
    return {"description": operation.summary, "content": {operation.media: {"schema": schema}}}


def _errors(operation: Operation) -> dict[str, Any]:
    statuses = dict(operation.errors) | (_ALWAYS if operation.access != "open" else {})
    content = {"application/json": {"schema": _schema(ErrorAnswer)}}
    return {str(status): {"description": text, "content": content} for status, text in sorted(statuses.items())}


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema
