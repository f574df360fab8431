"""Render the OpenAPI document as a readable REST reference (API-2)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]

_REFERENCE: Final = "#/components/schemas/"
_GROUPS: Final = {"Open": "This description", "X509Templates": "X.509 templates"}
_VARIABLE: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an object, or a parameter.

    :param type: for people; *link* is the name of its schema, or ``""``.
    :param place: of a parameter: ``path``, ``query`` or ``header``.
    :param about: its description, or ``""``.
    """

    name: str
    type: str
    link: str
    required: bool
    place: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one path.

    :param anchor: its name within the page.
    :param name: its name in the OpenAPI document.
    :param body: name of the schema of the request's body, or ``""``.
    :param answers: status, description, and the schema of the body.
    """

    anchor: str
    name: str
    method: str
    path: str
    summary: str
    needs: str
    parameters: tuple[Member, ...]
    body: str
    answers: tuple[tuple[str, str, Member | None], ...]
    command: str


@dataclass(frozen=True, slots=True)
class SchemaReference:
    """A schema."""

    name: str
    about: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole reference.

    :param groups: operations by the kind of object that they are about.
    """

    groups: tuple[tuple[str, tuple[Operation, ...]], ...]
    schemas: tuple[SchemaReference, ...]


def reference(document: Schema, server: str, query: str = "") -> Reference:
    """Return the reference for the OpenAPI *document*, with a command for each operation.

    :param server: base URL.
    :param query: words that the operations that are returned have in their method, path, summary or group.
    """
    words = query.lower().split()
    schemas: Schema = document["components"]["schemas"]
    groups: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            group = _heading(operation["tags"][0])
            text = f"{method} {path} {operation['summary']} {group}".lower()
            if all(word in text for word in words):
                groups.setdefault(group, []).append(_operation(path, method.upper(), operation, server))
    return Reference(
        tuple((name, tuple(operations)) for name, operations in groups.items()),
        tuple(
            SchemaReference(name, schema.get("description", ""), _members(schema)) for name, schema in schemas.items()
        ),
    )


def operation_reference(document: Schema, server: str, name: str) -> Operation:
    """Return the reference of the operation with that name."""
    (found,) = (
        _operation(path, method.upper(), operation, server)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["operationId"] == name
    )
    return found


def _heading(tag: str) -> str:
    """Format ``ChallengePasswords`` as ``Challenge passwords``."""
    if tag in _GROUPS:
        return _GROUPS[tag]
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tag)
    first, *rest = text.split(" ")
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def _operation(path: str, method: str, operation: Schema, server: str) -> Operation:
    parameters = tuple(
        Member(one["name"], *_type(one["schema"]), one.get("required", False), one["in"], one.get("description", ""))
        for one in operation.get("parameters", ())
    )
    body = _body(operation)
    return Operation(
        anchor=re.sub(r"[^a-z0-9]+", "-", f"{method}-{path}".lower()).strip("-"),
        name=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        needs=operation.get("description", "") if operation["security"] else "Anyone may.",
        parameters=parameters,
        body=body,
        answers=tuple(_answers(operation["responses"])),
        command=_command(path, method, operation, body, server),
    )


def _body(operation: Schema) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(_REFERENCE)


def _answers(responses: Schema) -> Iterator[tuple[str, str, Member | None]]:
    for status, response in responses.items():
        content = next(iter(response.get("content", {}).values()), None)
        member = None if content is None else Member("", *_type(content["schema"]), required=True)
        yield status, response["description"], member


def _type(schema: Schema) -> tuple[str, str]:
    """Return (description, name of the schema) of a type."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return name, name
    if "anyOf" in schema:
        text, link = _type(schema["anyOf"][0])
        return f"{text} or null", link
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"])), ""
    kind = schema.get("type", "any")
    if kind == "array":
        text, link = _type(schema["items"])
        return f"list of {text}", link
    if kind == "object" and "items" in schema.get("properties", {}):
        text, link = _type(schema["properties"]["items"]["items"])
        return f"page of {text}", link
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{text} ({schema['format']})" if "format" in schema else text, ""


def _members(schema: Schema) -> tuple[Member, ...]:
    required = schema.get("required", ())
    return tuple(
        Member(name, *_type(member), name in required, about=member.get("description", ""))
        for name, member in schema.get("properties", {}).items()
    )


def _command(path: str, method: str, operation: Schema, body: str, server: str) -> str:
    """Return the curl command for an operation; a file ``token`` holds the header line."""
    target = server + _VARIABLE.sub(lambda variable: variable[1].upper(), path)
    arguments = ["curl --fail-with-body --silent --show-error --cacert root.crt"]
    if operation["security"]:
        arguments.append("--header @token")
    if body:
        text = json.dumps(_example(operation)).replace("'", "'\\''")
        arguments.append(f"--header 'Content-Type: application/json' --data '{text}'")
    if method not in ("GET", "POST") or (method == "POST" and not body):
        arguments.append(f"--request {method}")
    return " ".join([*arguments, target])


def _example(operation: Schema) -> object:
    """Return the example of an operation's body; an object without members where there is none."""
    return operation["requestBody"]["content"]["application/json"].get("example", {})
