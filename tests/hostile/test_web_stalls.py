"""REST and pages: uploads, and filters of lists."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.hostile import inputs
from tests.hostile.target import Target, sampled
from tests.support.pki import make_csr
from tests.support.rest import csr_pem

SIZE = 300_000
# The longest text that a list is searched for.
SEARCHED = 200
LISTS = (
    "/certificates",
    "/csrs",
    "/keys",
    "/templates",
    "/policies",
    "/challenge-passwords",
    "/users",
    "/events",
    "/approvals",
    "/tokens",
)
PAGES = ("/certificates", "/csrs", "/keys", "/templates", "/policies", "/challenge-passwords", "/users", "/events",
         "/users/events", "/ra", "/va", "/x509-templates", "/logs", "/help", "/chat")  # fmt: skip


@pytest.mark.parametrize("script", sampled(inputs.SCRIPTS))
def test_search_in_lists(target: Target, script: str) -> None:
    """Every list of REST, with a search text as long as an address may be, and as long as is searched for."""
    whole = inputs.SCRIPTS[script]
    text = quote(whole[:20_000])[:30_000].rpartition("%")[0] or "a" * 30_000
    searched = [quote(whole[:SEARCHED]), quote(" ".join(whole[: SEARCHED // 2]))]

    def attack() -> None:
        for path in LISTS:
            for q in (text, *searched):
                target.rest("GET", f"{path}?q={q}")

    for path in LISTS:
        assert all(target.rest("GET", f"{path}?q={q}").status == 200 for q in searched)

    target.survives(attack)


@pytest.mark.parametrize("script", sampled(inputs.SCRIPTS))
def test_search_in_pages(target: Target, script: str) -> None:
    """Every list of the pages."""
    text = quote(inputs.SCRIPTS[script][:20_000])[:30_000].rpartition("%")[0] or "a" * 30_000
    searched = quote(inputs.SCRIPTS[script][:SEARCHED])
    asks = [target.page(f"{path}?q={q}") for path in PAGES[:1] for q in (text, searched)]
    asks += [target.page(f"/logs?keyword={text}"), target.page(f"/events?name={text}&type={text[:1000]}")]
    target.survives(lambda: [ask() for ask in asks])


def uploads(size: int) -> dict[str, Any]:
    """Return inputs to paste, by their peculiarity; bytes are sent as base64."""
    made: dict[str, Any] = dict(inputs.structures(size))
    made |= {f"text of {script}": text[:size] for script, text in inputs.SCRIPTS.items()}
    made["PEM of many blocks"] = csr_pem() * (size // 600)
    made["PEM without an end"] = "-----BEGIN CERTIFICATE-----\n" * (size // 30)
    made["PEM headers"] = "-----BEGIN CERTIFICATE-----\n" + "A: b\n" * (size // 5) + "-----END CERTIFICATE-----\n"
    made["spaced base64"] = "A \n\t" * (size // 4)
    made["UTF-16"] = "\ufeff" + "A\0" * (size // 2)
    return made


@pytest.mark.parametrize("kind", sampled(sorted(uploads(1000))))
def test_uploads(target: Target, kind: str) -> None:
    """Inspect, CSRs, signing, CRLs, templates and policies."""
    data = uploads(SIZE)[kind]
    text = data if isinstance(data, str) else data.decode("latin-1")

    def attack() -> None:
        target.rest("POST", "/inspect", {"data": data})
        target.rest("POST", "/inspect", {"data": data, "passphrase": inputs.MARKS[:1000]})
        target.rest("POST", "/csrs", {"csr": data, "name": text[:200]})
        target.rest("POST", "/certificates", {"csr": data})
        target.rest("POST", "/certificates/preview", {"csr": data})
        target.rest("POST", "/templates", {"name": "hostile", "profile_type": text[:200], "content": text[:60_000]})
        target.rest("POST", "/policies", {"name": "hostile", "validity_days": 1, "extensions": text, "system": True})

    target.survives(attack)


def templates() -> dict[str, str]:
    """Certificate templates whose text is not too long to be read, and whose meaning is large."""
    head = "[ v3_ext ]\n"
    return {
        "many sections": "".join(f"[ s{number} ]\na = b\n" for number in range(4_000)),
        "many keys": head + "".join(f"k{number} = v\n" for number in range(5_000)),
        "sections in sections": head
        + "1.2.3.4 = ASN1:SEQUENCE:s0\n"
        + "".join(f"[ s{n} ]\na = SEQUENCE:s{n + 1}\nb = SEQUENCE:s{n + 1}\n" for n in range(60)),
        "a section in itself": head + "1.2.3.4 = ASN1:SEQUENCE:s\n[ s ]\na = SEQUENCE:s\n",
        "variables in variables": "a = xxxxxxxxxx\n"
        + "".join(f"{chr(98 + n)} = {f'${chr(97 + n)}' * 10}\n" for n in range(12))
        + head
        + "nsComment = $m\n",
        "long number": head + "1.2.3.4 = ASN1:INTEGER:" + "9" * 60_000 + "\n",
        "long hexadecimal number": head + "1.2.3.4 = ASN1:INTEGER:0x" + "f" * 60_000 + "\n",
        "long identifier": head + "1.2." + "9" * 60_000 + " = ASN1:NULL\n",
        "many alternative names": head + "subjectAltName = " + ",".join(["DNS:a.example.com"] * 3_000) + "\n",
        "continued lines": head + "a = b\\\n" * 9_000,
        "quotes": head + "nsComment = " + '"\\' * 30_000 + "\n",
    }


@pytest.mark.parametrize("kind", templates())
def test_templates(target: Target, kind: str) -> None:
    """Templates as text, for CSRs, and as a policy."""
    text = templates()[kind]

    def attack() -> None:
        target.rest("POST", "/templates", {"name": "hostile", "profile_type": "x", "content": text})
        target.rest("POST", "/policies", {"name": "hostile", "validity_days": 1, "extensions": text, "system": True})

    target.survives(attack)


# As many and as long as a policy may have.
PATTERNS = {
    "many stars": ["*" * 255 + "x"],
    "stars and letters": [f"{'*a' * 126}{number:02}" for number in range(64)],
    "many patterns": [f"*{number}*{number}*" for number in range(64)],
    "question marks": [f"{'?*' * 126}{number:02}" for number in range(64)],
    "pieces at the begin": [f"DNS:{'a?' * 25}*b{number:02}" for number in range(64)],
    "pieces in the middle": [f"*{'a?' * 25}b{number:02}*" for number in range(64)],
    "brackets": ["[" * 256, "[!" * 128, "[a-" * 85],
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns(target: Target, kind: str) -> None:
    """Patterns of a policy against names that nearly match."""
    body = {
        "name": f"patterns {kind}",
        "validity_days": 1,
        "extensions": "[ v3_ext ]\nkeyUsage = digitalSignature\n",
        "system": True,
        "limits": {"names": PATTERNS[kind]},
    }
    csr = make_csr(subject="a" * 60, sans=[f"DNS:{'a' * 57}{number:03}.example.com" for number in range(100)])[1]
    assert target.rest("POST", "/policies", body).status == 201

    def attack() -> None:
        refused = target.rest("POST", "/certificates", {"csr": csr, "policy": body["name"]})
        assert "The policy" in refused.text
        target.rest("POST", "/certificates/preview", {"csr": csr, "policy": body["name"]})

    target.survives(attack)


@pytest.mark.parametrize(
    "document",
    [
        "[" * 200_000,
        '{"a":' * 60_000,
        '{"csr": "' + "\\u0300" * 50_000 + '"}',
        '{"validity_days": ' + "9" * 200_000 + "}",
        '{"validity_days": 1e' + "9" * 5_000 + "}",
        "{" + ",".join(f'"k{number}": 1' for number in range(30_000)) + "}",
        '{"csr": "' + "x" * 900_000 + '"}',
        " " * 900_000,
    ],
    ids=["arrays", "objects", "escapes", "number", "exponent", "members", "text", "spaces"],
)
def test_json(target: Target, document: str) -> None:
    """Bodies of JSON, of somebody with a token and of nobody."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.token}"}

    def attack() -> None:
        target.send("https", "/api/v1/certificates", document.encode(), headers)
        target.send("https", "/api/v1/certificates", document.encode(), {"Content-Type": "application/json"})

    target.survives(attack)


@pytest.mark.parametrize(
    "body",
    [
        b"&" * 60_000,
        b"a=b&" * 15_000,
        b"a=" + b"%CC%80" * 10_000,
        b"%" * 60_000,
        b"--x\r\n" * 12_000,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' * 1_000,
        b"--x\r\n" + b"A: b\r\n" * 10_000,
    ],
    ids=["ampersands", "fields", "escapes", "percent signs", "boundaries", "parts", "headers"],
)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_forms(target: Target, kind: str, body: bytes) -> None:
    """Forms of strangers."""
    paths = ("/login", "/register", "/inspect")
    target.survives(lambda: [target.send("https", path, body, {"Content-Type": kind}) for path in paths])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Range", "bytes=" + "0-," * 8000),
        ("If-None-Match", '"x",' * 6000),
        ("If-None-Match", '"' * 20_000),
        ("If-Modified-Since", "Sun, " * 4000),
        ("Accept", "text/html;q=0.1," * 1500),
        ("Accept-Language", "de," * 6000),
        ("Accept-Encoding", "gzip;q=" + "0" * 20_000),
        ("Cookie", "a=b; " * 4000),
        ("Cookie", "=" * 20_000),
        ("Host", "a" * 20_000),
        ("Host", "[" * 20_000),
        ("Content-Type", "multipart/form-data; boundary=" + '"\\' * 8000),
        ("Idempotency-Key", "x" * 20_000),
        ("Origin", "https://" + "a." * 8000),
        ("Last-Event-ID", "9" * 20_000),
        ("Transfer-Encoding", "chunked," * 2000),
    ],
)
def test_headers(target: Target, name: str, value: str) -> None:
    """Headers of strangers, on a page, a file and a route of REST."""

    def attack() -> None:
        for path in ("/login", "/crl/ec.crl", "/api/v1/cas", "/static/style.css"):
            target.send("https", path, headers={name: value})
        target.send("https", "/login", b"a=b", headers={name: value})

    target.survives(attack)
