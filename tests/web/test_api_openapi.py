"""REST: the OpenAPI document describes what the server does (API-2)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.rest import REST, csr_pem
from tests.support.stack import DEFAULT_EXTENSIONS


@pytest.fixture
def document(rest: REST) -> dict[str, Any]:
    """The description, which anyone may read."""
    found: dict[str, Any] = rest.good("GET", "/openapi.json")
    return found


def test_routes(rest: REST, document: dict[str, Any]) -> None:
    """Every route is in it, and nothing else."""
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, re.sub("<(.+?)>", r"{\1}", route.path)) for route in rest.resource.routes}
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
    for methods in document["paths"].values():
        for one in methods.values():
            assert one["summary"]
            assert "default" in one["responses"]


def test_references(document: dict[str, Any]) -> None:
    """Every schema that is named is there."""
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert named == set(document["components"]["schemas"])


def check(schema: dict[str, Any], value: Any, schemas: dict[str, Any]) -> None:
    """That *value* is what *schema* says, as far as our schemas go."""
    if "$ref" in schema:
        check(schemas[schema["$ref"].rpartition("/")[2]], value, schemas)
    elif "anyOf" in schema:
        if value is not None:
            check(schema["anyOf"][0], value, schemas)
    else:
        kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert value is None if types[-1] == "null" and value is None else isinstance(value, kinds[types[0]])
        assert value in schema.get("enum", [value])
        for item in value if "items" in schema else ():
            check(schema["items"], item, schemas)
        if "properties" in schema:
            assert set(schema["required"]) <= value.keys() <= schema["properties"].keys()
            for name, one in value.items():
                check(schema["properties"][name], one, schemas)


def test_answers(rest: REST, document: dict[str, Any]) -> None:
    """The server's responses match the OpenAPI document."""
    user = {"username": "u", "email": "u@example.com", "password": "long enough"}
    policy = {"name": "p", "validity_days": 5, "extensions": DEFAULT_EXTENSIONS}
    made = {
        "/certificates": rest.good("POST", "/certificates", {"csr": csr_pem()}, who="root", status=201),
        "/csrs": rest.good("POST", "/csrs", {"csr": csr_pem()}, who="root", status=201),
        "/policies": rest.good("POST", "/policies", policy, who="root", status=201),
        "/challenge-passwords": rest.good("POST", "/challenge-passwords", {}, who="root", status=201),
        "/batches": rest.good(
            "POST", "/batches", {"label": "x", "policy": "System", "names": "a,b"}, who="root", status=201
        ),
        "/identity-lists": rest.good(
            "POST", "/identity-lists", {"name": "x", "identities": "a"}, who="root", status=201
        ),
        "/tokens": rest.good("POST", "/tokens", {"name": "t"}, who="root", status=201),
        "/users": rest.good("POST", "/users", user, who="root", status=201),
    }
    made["/devices"] = {"id": made["/certificates"]["device_id"]}
    schemas = document["components"]["schemas"]

    def schema(method: str, path: str, status: str) -> dict[str, Any]:
        content = document["paths"][f"/api/v1{path}"][method]["responses"][status]["content"]
        found: dict[str, Any] = content["application/json"]["schema"]
        return found

    for path, answer in made.items():
        if path != "/devices":
            check(schema("post", path, "201"), answer, schemas)
        check(schema("get", f"{path}/{{id}}", "200"), rest.good("GET", f"{path}/{answer['id']}", who="root"), schemas)
    for path in (*made, "/events", "/approvals", "/cas"):
        check(schema("get", path, "200"), rest.good("GET", path, who="root"), schemas)
    check(schema("get", "/statistics", "200"), rest.good("GET", "/statistics", who="root"), schemas)
    for text in ("12", made["/certificates"]["serial"]):
        check(schema("get", "/status/{serial}", "200"), rest.good("GET", f"/status/{text}"), schemas)
