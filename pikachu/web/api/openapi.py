"""Generate the OpenAPI 3.1 description from the routes themselves, so that the two can't differ (API-2)."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Union, get_args, get_origin

from pikachu import __version__
from pikachu.web.api.bodies import fields_of
from pikachu.web.api.routes import Access, Answer, Call, Operation, Route, Routes

Schema = dict[str, Any]

_VARIABLE: Final = re.compile("<([a-z_]+)>")
_SCALARS: Final[Mapping[type, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}
_PROBLEM: Final[Schema] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "failure_id": {"type": "string"},
    },
}
_IF_MATCH: Final[Schema] = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the version to change or delete: 412 when somebody else has changed it since. Without "
    "this header, or with *, any version is changed.",
    "schema": {"type": "string"},
}
_ETAG: Final[Schema] = {
    "description": "The strong entity tag of this version, for If-Match",
    "required": True,
    "schema": {"type": "string"},
}


class OpenAPI(Routes):
    """Serves the description.

    :param routes: routes of all other classes.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._document = describe([*routes, *self.routes()])

    @Operation("GET", "/openapi.json", scope=Access.ANYONE, summary="This description, in OpenAPI 3.1")
    async def get(self, call: Call) -> Answer:
        """Return the OpenAPI description (API-2)."""
        return Answer(200, self._document)


def describe(routes: Iterable[Route]) -> Schema:
    """Return the OpenAPI document of *routes*."""
    schemas: dict[str, Schema] = {"Problem": _PROBLEM}
    paths: dict[str, Schema] = {}
    for one in routes:
        paths.setdefault(_VARIABLE.sub(r"{\1}", one.path), {})[one.method.lower()] = _describe_operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pikachu CA", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe_operation(route: Route, schemas: dict[str, Schema]) -> Schema:
    operation = route.operation
    description: Schema = {
        "operationId": route.name,
        "summary": operation.summary,
        "tags": [route.name.partition(".")[0]],
        "security": [] if operation.scope is Access.ANYONE else [{"token": []}],
        "responses": {str(status): _response(operation, status, schemas) for status in operation.statuses},
    }
    if operation.scopes:
        description["description"] = f"Needs a token with: {', '.join(operation.scopes)}."
    elif operation.scope is Access.WHOLE_ACCOUNT:
        description["description"] = "Needs all scopes of the account's role."
    description["responses"]["default"] = {
        "description": "A failure (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name == "id" else "string"}}
        for name in _VARIABLE.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": _query_schema(operation, name)} for name in operation.query_names
    ]
    if operation.method == "POST":
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    if operation.conditional:
        parameters.append(_IF_MATCH)
        description["responses"]["412"] = {
            "description": "Somebody else changed it since it had the entity tag that If-Match names",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    if parameters:
        description["parameters"] = parameters
    if operation.accepted_body is not None:
        needed = any(required for _, required in fields_of(operation.accepted_body).values())
        content = {"application/json": {"schema": _reference(operation.accepted_body, schemas, strict=True)}}
        description["requestBody"] = {"required": needed, "content": content}
    return description


def _response(operation: Operation, status: int, schemas: dict[str, Schema]) -> Schema:
    response: Schema = {"description": HTTPStatus(status).phrase}
    # RFC 9110 section 9.3.4 forbids it in responses to PUT when the stored state differs from what was sent.
    if operation.tagged and operation.method in ("GET", "POST", "PATCH"):
        response["headers"] = {"ETag": _ETAG}
    kind = operation.pending if status == HTTPStatus.ACCEPTED else operation.answer
    if kind is not None:
        schema = _reference(kind, schemas, strict=False)
        if operation.listed:
            schema = {
                "type": "object",
                "required": ["items", "next_cursor"],
                "properties": {
                    "items": {"type": "array", "items": schema},
                    "next_cursor": {"type": ["string", "null"]},
                },
            }
        response["content"] = {"application/json": {"schema": schema}}
    return response


def _query_schema(operation: Operation, name: str) -> Schema:
    if name == "limit":
        return {"type": "integer", "minimum": 1, "maximum": 1000, "default": 25}
    if name == "sort":
        return {"type": "string", "enum": [f"{sign}{sort}" for sort in operation.sorts for sign in ("", "-")]}
    return {"type": "integer"} if name == operation.owner else {"type": "string"}


def _reference(kind: type[Any], schemas: dict[str, Schema], *, strict: bool) -> Schema:
    """Return a reference to the schema of a dataclass, which is added when it is missing.

    :param strict: unknown members are refused.
    """
    name = kind.__name__
    if name not in schemas:
        schemas[name] = {}
        members = fields_of(kind)
        schema: Schema = {
            "type": "object",
            "description": " ".join((kind.__doc__ or "").split()),
            "properties": {
                field: _schema(annotation, schemas, strict=strict) for field, (annotation, _) in members.items()
            },
            "required": [field for field, (_, required) in members.items() if required],
        }
        if strict:
            schema["additionalProperties"] = False
        schemas[name].update(schema)
    return {"$ref": f"#/components/schemas/{name}"}


def _schema(kind: Any, schemas: dict[str, Schema], *, strict: bool) -> Schema:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = _schema(next(one for one in get_args(kind) if one is not type(None)), schemas, strict=strict)
        return {"anyOf": [inner, {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0], schemas, strict=strict)}
    if dataclasses.is_dataclass(kind):
        return _reference(kind, schemas, strict=strict)  # type: ignore[arg-type]  # the class, not one of its objects
    if origin is not None:
        return {"type": "object"}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [str(one) for one in kind]}
    return dict(_SCALARS[kind])
