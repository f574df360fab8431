"""REST: the OpenAPI document and the server take and refuse the same requests, for every operation (API-2)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pikachu.core.model.policies import Approval
from pikachu.ra.policy_administration import KEY_LIMITS
from pikachu.web.api import examples
from tests.support.deferreds import result_of
from tests.support.packages import require_package
from tests.support.recovered import recover
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, MAIL_SERVER, Stack, build_core

#: Members whose values the server judges by more than their schema.
JUDGED_FURTHER: Final = (
    *("csr", "pem", "pkcs12", "crl", "data", "extensions", "content", "template", "email", "name", "limits"),
    *("issuer", "revoke", "serial", "action", "resource", "filter", "arguments"),
    *("subject", "sans", "label", "names", "attributes", "policy", "identities"),
    *(
        "kind",
        "days",
        "addresses",
        "webhook",
        "mqtt",
        "to_owner",
        "channel",
        "recipient",
        "device",
        "owner",
        "checkpoint",
    ),
)
#: Statuses of a refusal for the content of a request, and of one for the state of the objects that it names.
MALFORMED: Final = (400, 422)
STATE: Final = (403, 404, 409, 422)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[REST]:
    """A server where the administrator has stored one key, whose id is that of the examples."""
    stack = build_core(tmp_path_factory.mktemp("document"), changes=MAIL_SERVER)
    rest = make_rest(stack)
    key = rest.good("POST", "/keys", {"name": "first", "type": "EC"}, who="root", status=201)
    assert key["id"] == 1
    yield rest
    stack.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A new server, which knows a mail server."""
    made = build_core(tmp_path, changes=MAIL_SERVER)
    yield made
    made.close()


@pytest.fixture(scope="module")
def document(rest: REST) -> Json:
    """The OpenAPI document."""
    answer: Json = rest.good("GET", "/openapi.json")
    return answer


def certificate(rest: REST) -> str:
    """Issue a certificate."""
    return f"{rest.good('POST', '/certificates', {'csr': csr_pem()}, who='root', status=201)['id']}"


def stored_csr(rest: REST) -> str:
    """Store a CSR."""
    return f"{rest.good('POST', '/csrs', {'csr': csr_pem()}, who='root', status=201)['id']}"


def device(rest: REST) -> str:
    """Issue a certificate for a new name; return the id of its device."""
    body = {"csr": csr_pem(f"device-{next(rest.count)}.example.com")}
    return f"{rest.good('POST', '/certificates', body, who='root', status=201)['device_id']}"


def identity_list(rest: REST) -> str:
    """Create a list of identities."""
    body = {"name": f"list {next(rest.count)}", "identities": "a"}
    return f"{rest.good('POST', '/identity-lists', body, who='root', status=201)['id']}"


def notice_rule(rest: REST) -> str:
    """Create a rule of notices."""
    body = {"name": f"rule {next(rest.count)}", "kind": "crls", "addresses": ["ops@example.com"]}
    return f"{rest.good('POST', '/notice-rules', body, who='root', status=201)['id']}"


def batch(rest: REST) -> str:
    """Create an enrollment batch."""
    body = {"label": "x", "policy": "System", "names": "a"}
    return f"{rest.good('POST', '/batches', body, who='root', status=201)['id']}"


def stopped_batch(rest: REST) -> str:
    """Create an enrollment batch that has stopped."""
    made = batch(rest)
    result_of(rest.stack.app.store.stop_batch(int(made), "a problem"))
    return made


def certificate_with_key(rest: REST) -> str:
    """Issue a certificate whose key is stored."""
    body = {"key_id": 1, "template": examples.TEMPLATE}
    csr = rest.good("POST", "/csrs", body, who="root", status=201)
    return f"{rest.good('POST', '/certificates', {'csr_id': csr['id']}, who='root', status=201)['id']}"


def approval(rest: REST) -> str:
    """Submit a request that waits for approval."""
    name = f"manual {next(rest.count)}"
    policy = {"name": name, "validity_days": 5, "extensions": DEFAULT_EXTENSIONS, "approval": Approval.MANUAL}
    rest.good("POST", "/policies", policy, who="root", status=201)
    return f"{rest.good('POST', '/certificates', {'csr': csr_pem(), 'policy': name}, who='root', status=202)['id']}"


def policy(rest: REST) -> str:
    """Create a policy."""
    body = {"name": f"policy {next(rest.count)}", "validity_days": 5, "extensions": DEFAULT_EXTENSIONS}
    return f"{rest.good('POST', '/policies', body, who='root', status=201)['id']}"


def template(rest: REST) -> str:
    """Create a certificate template."""
    body = {"name": f"template {next(rest.count)}", "profile_type": "device", "content": examples.TEMPLATE}
    return f"{rest.good('POST', '/templates', body, who='root', status=201)['id']}"


def user(rest: REST) -> str:
    """Create an account."""
    name = f"user{next(rest.count)}"
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse", "state": "active"}
    return f"{rest.good('POST', '/users', body, who='root', status=201)['id']}"


def suspended_user(rest: REST) -> str:
    """Create an account and suspend it."""
    new = user(rest)
    rest.good("PATCH", f"/users/{new}", {"state": "suspended"}, who="root")
    return new


def recovered(rest: REST) -> str:
    """Recover a revocation."""
    return f"{recover(rest.stack.app, rest.clock, 0x7000 + next(rest.count))[-1]}"


def job(rest: REST) -> str:
    """Create a job."""
    body = {"action": "delete", "resource": "keys", "ids": [90_000]}
    new = rest.good("POST", "/jobs", body, who="root", status=202)
    rest.clock.pump([1.0] * 3)
    return f"{new['id']}"


def constant(value: str) -> Callable[[REST], str]:
    """Return a path segment that needs no object."""
    return lambda rest: value


def nothing(rest: REST) -> str:
    """Create no object: the path has no variable."""
    return ""


#: Operation with a body → what creates the object that its path names.
BODIES: Final[dict[str, Callable[[REST], str]]] = {
    "POST /certificates": nothing,
    "POST /certificates/preview": nothing,
    "POST /certificates/{id}/renewal": certificate,
    "POST /certificates/{id}/revocation": certificate,
    "POST /devices/{id}/retirement": device,
    "POST /identity-lists": nothing,
    "PUT /identity-lists/{id}": identity_list,
    "POST /housekeeping": nothing,
    "POST /notice-rules": nothing,
    "PUT /notice-rules/{id}": notice_rule,
    "POST /notices/test": nothing,
    "POST /certificates/{id}/pfx": certificate_with_key,
    "POST /revocations": nothing,
    "POST /approvals/{id}/approval": approval,
    "POST /approvals/{id}/rejection": approval,
    "POST /csrs": nothing,
    "POST /csrs/preview": nothing,
    "POST /csrs/{id}/rejection": stored_csr,
    "POST /keys": nothing,
    "POST /keys/{id}/private-key": constant("1"),
    "POST /policies": nothing,
    "PUT /policies/{id}": policy,
    "PATCH /policies/{id}": policy,
    "POST /templates": nothing,
    "POST /templates/validation": nothing,
    "PUT /templates/{id}": template,
    "PATCH /templates/{id}": template,
    "POST /x509-templates/{name}/render": constant("tls_client_extensions.cnf.j2"),
    "POST /challenge-passwords": nothing,
    "POST /challenge-passwords/expired-deletion": nothing,
    "POST /batches": nothing,
    "POST /batches/{id}/end": batch,
    "POST /batches/{id}/resumption": stopped_batch,
    "POST /users": nothing,
    "PATCH /users/{id}": user,
    "POST /users/{id}/password": user,
    "POST /users/{id}/logout": user,
    "POST /users/{id}/revocation": suspended_user,
    "POST /users/{id}/password-reset": user,
    "POST /tokens": nothing,
    "POST /account-certificates": nothing,
    "POST /crls/{ca}": constant("ec"),
    "POST /inspect": nothing,
    "POST /jobs": nothing,
    "POST /audit-verification": nothing,
    "POST /recovered-revocations/{id}/decision": recovered,
    "POST /recovered-revocations/decision": nothing,
}
#: Operation with an enumerated parameter → the same for its path.
QUERIES: Final[dict[str, Callable[[REST], str]]] = {
    "GET /batches/{id}/names": batch,
    "GET /batches/{id}/labels": batch,
    "GET /batches/{id}/passwords": batch,
    "GET /certificates/{id}/download": certificate,
    "DELETE /certificates/{id}": certificate,
    "DELETE /users/{id}": user,
    "PUT /policies/{id}": policy,
    "PATCH /policies/{id}": policy,
    "DELETE /policies/{id}": policy,
    "DELETE /sessions/{id}": constant("1"),
    "GET /jobs/{id}/results": job,
}
#: A value of a parameter that the server takes together with another one only.
TOGETHER: Final = {
    ("GET /certificates", "revoked_at"): "&status=revoked",
    ("GET /certificates", "-revoked_at"): "&status=revoked",
}


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Give each operation by its method and path."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path.removeprefix('/api/v1')}", operation


def body_of(document: Json, name: str) -> Json:
    """Return the media type object of an operation's body."""
    content: Json = dict(operations(document))[name]["requestBody"]["content"]["application/json"]
    return content


def send(rest: REST, name: str, prepare: Callable[[REST], str], body: object = None, query: str = "") -> int:
    """Send a body to an operation on a new object; return the status."""
    method, _, path = name.partition(" ")
    target = re.sub(r"\{\w+\}", lambda _: prepare(rest), path)
    return rest.call(method, target + query, who="root", raw=None if body is None else json.dumps(body).encode()).status


# --- the document by itself --------------------------------------------------------------


def test_tags_make_good_module_names(document: Json) -> None:
    """Generators write a tag in snake case, which makes `cr_ls` of "CRLs"."""
    assert [one["name"] for one in document["tags"] if re.search("[A-Z]{2,}[a-z]", one["name"])] == []


def test_every_operation_is_in_the_tables(document: Json) -> None:
    """Every operation with a body, or with an enumerated parameter in a path with a variable, is tried below."""
    assert {name for name, operation in operations(document) if "requestBody" in operation} == set(BODIES)
    named = {name for name, operation in operations(document) if "{" in name and enumerated(operation)}
    assert named == set(QUERIES)


def test_the_document_is_valid(document: Json) -> None:
    """A validator of OpenAPI 3.1 finds no fault."""
    require_package("openapi_spec_validator").OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ca.example.com", "https://ca.example.com"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("a b", "/"),
        ("x/../y", "/"),
        ('"', "/"),
    ],
)
def test_the_server_is_this_one(rest: REST, host: str, url: str) -> None:
    """The only server is that which the client has asked; a Host header that is no host is not repeated."""
    answer = rest.call("GET", "/openapi.json", headers={"Host": host})
    assert json.loads(answer.body)["servers"] == [{"url": url}]


def test_allowed_keys_are_those_of_the_document() -> None:
    """Each kind of key that a policy can allow matches the document's pattern."""
    from pikachu.core.model.policies import KEY_LIMIT

    assert all(re.fullmatch(KEY_LIMIT.pattern, key) for key in KEY_LIMITS)


# --- bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BODIES)
def test_the_example_works(stack: Stack, document: Json, name: str) -> None:
    """A new server takes the example of each body as it is."""
    rest = make_rest(stack)
    rest.good("POST", "/keys", {"name": "first", "type": "EC"}, who="root", status=201)
    content = body_of(document, name)
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert ("example" in content) == bool(schema["properties"])
    if "serial" in content.get("example", {}):
        # The one thing that a document can't know.
        content["example"]["serial"] = rest.good("GET", f"/certificates/{certificate(rest)}", who="root")["serial"]
    statuses = {int(status) for status in dict(operations(document))[name]["responses"] if status.isdigit()}
    assert send(rest, name, BODIES[name], content.get("example", {})) in {one for one in statuses if one < 300}


def merged(schema: Json, schemas: Json) -> Json:
    """Return a schema without references and null."""
    if "$ref" in schema:
        return merged(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return merged(schema["anyOf"][0], schemas) if "anyOf" in schema else schema


def boundaries(schema: Json, schemas: Json) -> Iterator[object]:
    """Give values at and beyond the boundaries of a member's schema, and of other types."""
    yield None
    schema = merged(schema, schemas)
    yield from [[], {}] if schema["type"] in ("string", "integer", "boolean") else ["text", 7]
    yield from (value for value in (True, 7, "text") if not isinstance(value, TYPES[schema["type"]]))
    yield from schema.get("enum", ())
    if schema["type"] == "string":
        yield "no such value"
        for length in {schema.get("minLength", 0) - 1, schema.get("minLength", 0), schema.get("maxLength", -2) + 1}:
            yield from ["x" * length] if length >= 0 else []
    if schema["type"] == "integer":
        for bound, step in (("minimum", -1), ("maximum", 1)):
            yield from [schema[bound], schema[bound] + step] if bound in schema else []
    if schema["type"] == "array":
        yield []
        items = [value for value in boundaries(schema["items"], schemas) if value is not None]
        yield from ([value] for value in items)
        fine = next((one for one in items if merged(schema["items"], schemas)["type"] == "string"), None)
        yield from [[fine] * (schema["maxItems"] + 1)] if fine is not None else []
    if "properties" in schema:
        yield from mutations({}, schema, schemas)


TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "integer": (int, bool),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def mutations(example: Json, schema: Json, schemas: Json) -> Iterator[Json]:
    """Give bodies that differ from the example in one member, and those with the members of two variants."""
    for name in example:
        yield {other: value for other, value in example.items() if other != name}
    yield {**example, "unknown": 1}
    for name, member in schema["properties"].items():
        for value in boundaries(member, schemas):
            yield {**example, name: value}
    variants = schema["allOf"][0]["oneOf"] if "allOf" in schema else []
    dependent = {name for variant in variants for name in variant["properties"]}
    rest = {name: value for name, value in example.items() if name not in dependent}
    for one in variants:
        for other in variants:
            both = {name: sample(name, schema, one, schemas) for name in one["required"]}
            yield {**rest, **both, **{name: sample(name, schema, other, schemas) for name in other["required"]}}


def sample(name: str, schema: Json, variant: Json, schemas: Json) -> object:
    """Return a value for a member of a variant."""
    if "const" in variant["properties"][name]:
        return variant["properties"][name]["const"]
    member = merged(schema["properties"][name], schemas)
    if member["type"] == "object" and "allOf" in member:
        first = member["allOf"][0]["oneOf"][0]
        return {name: sample(name, member, first, schemas) for name in first["required"]}
    values = {"string": "text", "integer": 1, "array": [1], "object": {}}
    return member["enum"][0] if "enum" in member else values[member["type"]]


@pytest.mark.parametrize("name", BODIES)
def test_boundaries(rest: REST, document: Json, name: str) -> None:
    """The server refuses each body that the document forbids as malformed, and takes the others, unless the state of
    the objects that they name forbids it.
    """
    validator = require_package("jsonschema").Draft202012Validator
    content = body_of(document, name)
    schemas = document["components"]["schemas"]
    whole = {**content["schema"], "components": {"schemas": schemas}}
    schema = merged(content["schema"], schemas)
    example = content.get("example", {})
    tried = set()
    for body in mutations(copy.deepcopy(example), schema, schemas):
        text = json.dumps(body, sort_keys=True)
        if text in tried:
            continue
        tried.add(text)
        status = send(rest, name, BODIES[name], body)
        if not validator(whole).is_valid(body):
            assert status in MALFORMED, (status, text[:300])
        elif is_judged_further(body, example):
            assert status < 300 or status in (*STATE, 400), (status, text[:300])
        else:
            assert status < 300 or status in STATE, (status, text[:300])
    assert len(tried) >= len(schema["properties"])


def is_judged_further(body: Json, example: Json) -> bool:
    """Return whether a body differs from its example in a member that the server judges by more than its schema: by the
    grammar of a text, the configured CAs, or the state of an account.
    """
    return any(body.get(name) != example.get(name) for name in JUDGED_FURTHER)


# --- parameters --------------------------------------------------------------------------


def enumerated(operation: Json) -> list[Json]:
    """Return the query parameters of an operation whose values the document restricts."""
    parameters = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    return [one for one in parameters if "enum" in one["schema"] or one["schema"]["type"] == "integer"]


def test_parameters(rest: REST, document: Json) -> None:
    """Each permitted value of a parameter is taken, and others are refused; so are unknown parameters."""
    count = 0
    for name, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if name == "GET /requests/{id}/download":
            continue
        prepare = QUERIES.get(name, nothing)
        for parameter in enumerated(operation):
            schema, label = parameter["schema"], parameter["name"]
            good = schema.get("enum", [1]) + [schema[bound] for bound in ("minimum", "maximum") if bound in schema]
            bad = ["no", "VALID", "1.5", *[schema[bound] + 1 for bound in ("maximum",) if bound in schema]]
            for value in good:
                status = send(rest, name, prepare, body, query=f"?{label}={value}{TOGETHER.get((name, value), '')}")
                assert status < 300 or status in STATE, (name, label, value, status)
            for value in bad:
                assert send(rest, name, prepare, body, query=f"?{label}={value}") == 400, (name, label, value)
            count += 1
        if "{" not in name and name.startswith("GET"):
            assert send(rest, name, nothing, query="?unknown=1") == 400, name
    assert count > 20
