"""Generate the OpenAPI 3.1 description from the routes themselves, so that the two can't differ (API-2)."""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pikachu import __version__
from pikachu.web.api.bodies import MAXIMUM_MEMBERS, NUMBERS, default_of, encode, fields_of
from pikachu.web.api.routes import Access, Answer, Call, Operation, Route, Routes

Schema = dict[str, Any]

_VARIABLE: Final = re.compile("<([a-z_]+)>")
# A field in a docstring.
_FIELD: Final = re.compile(":(?:param|ivar) ([a-z_0-9]+):")
_SCALARS: Final[Mapping[type, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}
_ID: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0}
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
        "findings": {
            "type": "array",
            "description": "The errors of lint.",
            "items": {
                "type": "object",
                "required": ["severity", "code", "message", "where"],
                "properties": {name: {"type": "string"} for name in ("severity", "code", "message", "where")},
            },
        },
    },
}
_PATH_DESCRIPTIONS: Final = {
    "id": "The ID of the object.",
    "serial": "A serial number in hexadecimal digits.",
}
_QUERY_DESCRIPTIONS: Final = {
    "limit": "The maximum number of objects in the answer.",
    "cursor": "The next_cursor of the previous page.",
    "q": "Free text: only objects that match all its words.",
    "sort": "The field to sort by; with - in front, descending.",
    "expires": "Only certificates that expire within this time from now, such as 30d.",
    "issued": "Only certificates issued within the last 7d or another time.",
    "format": "The format of the file.",
    "status": "Only objects with this status.",
    "state": "Only objects in this state.",
}
_IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A text of your own: a POST that is repeated with it is done once, and gets the same answer.",
    "schema": {"type": "string", "maxLength": 255},
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
        self._others = tuple(routes)

    @cached_property
    def _document(self) -> bytes:
        """The description without the server's address, which differs between clients."""
        return encode(describe([*self._others, *self.routes()]))

    @Operation("GET", "/openapi.json", scope=Access.ANYONE, summary="This description, in OpenAPI 3.1")
    async def get(self, call: Call) -> Answer:
        """Return the OpenAPI description (API-2)."""
        servers = json.dumps({"servers": [{"url": call.origin or "/"}]}).encode()
        return Answer(200, servers[:-1] + b"," + self._document[1:])


def describe(routes: Iterable[Route]) -> Schema:
    """Return the OpenAPI document of *routes*."""
    routes = list(routes)
    schemas: dict[str, Schema] = {"Problem": _PROBLEM}
    # A dataclass of requests and answers has one schema, with the constraints of requests.
    for one in routes:
        if one.operation.accepted_body is not None:
            _reference(one.operation.accepted_body, schemas, strict=True)
    paths: dict[str, Schema] = {}
    for one in routes:
        paths.setdefault(_VARIABLE.sub(r"{\1}", one.path), {})[one.method.lower()] = _describe_operation(one, schemas)
    tags = dict.fromkeys(operation["tags"][0] for methods in paths.values() for operation in methods.values())
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pikachu CA", "version": __version__},
        "tags": [{"name": tag} for tag in tags],
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
    elif operation.scope is Access.STAFF:
        description["description"] = "Needs a token with operate or audit."
    elif operation.scope is Access.WHOLE_ACCOUNT:
        description["description"] = "Needs all scopes of the account's role."
    description["responses"]["default"] = {
        "description": "A failure (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_DESCRIPTIONS.get(name, f"The {name.replace('_', ' ')} of the object."),
            "schema": _ID if name == "id" else {"type": "string"},
        }
        for name in _VARIABLE.findall(route.path)
    ]
    parameters += [
        {
            "name": name,
            "in": "query",
            "description": _query_description(operation, name),
            "schema": _query_schema(operation, name),
            # An empty value is that of an absent name.
            **({"allowEmptyValue": True} if name in operation.choices else {}),
        }
        for name in operation.query_names
    ]
    if operation.method == "POST":
        parameters.append(_IDEMPOTENCY_KEY)
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
        variants = getattr(operation.accepted_body, "VARIANTS", None) is not None
        content = {"schema": _reference(operation.accepted_body, schemas, strict=True)}
        example = getattr(operation.accepted_body, "EXAMPLE", None)
        if example is not None:
            content["example"] = example
        description["requestBody"] = {"required": needed or variants, "content": {"application/json": content}}
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
                    "unindexed": {"type": "integer", "description": "Older objects that q does not find yet."},
                },
            }
        response["content"] = {"application/json": {"schema": schema}}
    elif operation.files:
        schema = {"type": "string", "format": "binary"}
        response["content"] = {media_type: {"schema": schema} for media_type in operation.files}
    return response


def _query_schema(operation: Operation, name: str) -> Schema:
    if name == "limit":
        return {"type": "integer", "minimum": 1, "maximum": 1000, "default": 25}
    if name == "sort":
        return {"type": "string", "enum": [f"{sign}{sort}" for sort in operation.sorts for sign in ("", "-")]}
    if name in operation.choices:
        return {"type": "string", "enum": [str(choice) for choice in operation.choices[name]]}
    return _ID if name == operation.owner or name in operation.ids else {"type": "string"}


def _query_description(operation: Operation, name: str) -> str:
    if name in _QUERY_DESCRIPTIONS:
        return _QUERY_DESCRIPTIONS[name]
    label = name.replace("_", " ")
    if name == operation.owner:
        return "Only objects of the account with this ID; for administrators."
    if name.endswith("_from"):
        return f"Only objects whose {label.removesuffix(' from')} is this date or time (UTC), or later."
    if name.endswith("_to"):
        return f"Only objects whose {label.removesuffix(' to')} is before this date or time (UTC)."
    return f"Only objects with this {label}." if operation.listed else f"The {label}."


def _reference(kind: type[Any], schemas: dict[str, Schema], *, strict: bool) -> Schema:
    """Return a reference to the schema of a dataclass, which is added when it is missing.

    :param strict: unknown members are refused.
    """
    name = kind.__name__
    if name not in schemas:
        schemas[name] = {}
        members = fields_of(kind)
        about, meanings = _descriptions(kind)
        schema: Schema = {
            "type": "object",
            "description": about,
            "properties": {
                field: _member(kind, field, annotation, schemas, strict=strict)
                | ({"description": meanings[field]} if field in meanings else {})
                for field, (annotation, _) in members.items()
            },
            "required": [field for field, (_, required) in members.items() if required],
        }
        if strict:
            schema["additionalProperties"] = False
            variants = getattr(kind, "VARIANTS", None)
            schema |= {} if variants is None else variants.describe()
        schemas[name].update(schema)
    return {"$ref": f"#/components/schemas/{name}"}


def _descriptions(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """Return the description of a dataclass and those of its fields, in Markdown, from its docstring."""
    text = " ".join((kind.__doc__ or "").split()).replace("``", "`")
    about, *fields = (part.strip() for part in _FIELD.split(text))
    meanings = zip(fields[::2], fields[1::2], strict=True)
    return about, {name: f"{meaning[:1].upper()}{meaning[1:]}" for name, meaning in meanings}


def _member(owner: type[Any], name: str, kind: Any, schemas: dict[str, Schema], *, strict: bool) -> Schema:
    """Return the schema of a field, with its default where that is a plain value."""
    schema = _schema(kind, schemas, strict=strict)
    default = default_of(owner, name)
    if strict and isinstance(default, str | int) and "$ref" not in schema:
        schema["default"] = default
    return schema


def _schema(kind: Any, schemas: dict[str, Schema], *, strict: bool) -> Schema:
    origin = get_origin(kind)
    if origin is Annotated:
        base, *constraints = get_args(kind)
        schema = _schema(base, schemas, strict=strict)
        for constraint in constraints:
            schema = constraint.describe(schema)
        return schema
    if origin in (Union, types.UnionType):
        inner = _schema(next(one for one in get_args(kind) if one is not type(None)), schemas, strict=strict)
        return {"anyOf": [inner, {"type": "null"}]}
    if origin is tuple:
        limit = {"maxItems": MAXIMUM_MEMBERS} if strict else {}
        return {"type": "array", "items": _schema(get_args(kind)[0], schemas, strict=strict), **limit}
    if dataclasses.is_dataclass(kind):
        return _reference(kind, schemas, strict=strict)  # type: ignore[arg-type]  # the class, not one of its objects
    if origin is not None:
        texts = get_args(kind)[1] is str
        return {"type": "object"} | ({"additionalProperties": {"type": "string"}} if texts else {})
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [str(one) for one in kind]}
    return NUMBERS.describe(_SCALARS[kind]) if strict and kind is int else dict(_SCALARS[kind])
