"""Commands for every endpoint, for one server's names and ports (UI-8).

They run in order in one folder: each reads the files that the previous ones wrote.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_EST: Final = "/.well-known/est"
#: Options of curl for a CSR, and the command that turns the answer into PEM.
PKCS10: Final = "--header 'Content-Type: application/pkcs10'"
PKCS7: Final = "openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs"
_NEW_KEY: Final = "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
_BEARER: Final = "--header @token"
_JSON: Final = "--header 'Content-Type: application/json'"


@dataclass(frozen=True, slots=True)
class Location:
    """The addresses and services of a server.

    :param http: base URL of plain HTTP; ``""`` where that listener is off, and likewise the others.
    :param account: name of the signed-in account.
    :param issuer: name of the default issuing CA.
    :param issuers: names of all.
    :param scep_issuer: name of the CA that issues by SCEP; ``""`` where SCEP is off.
    :param est_labels: names of the policies that the account can use by an EST label; likewise *scep_labels*.
    :param scep_ra: whether that CA has an RA certificate for SCEP.
    """

    http: str
    scep: str
    https: str
    trusted_https: str
    account: str
    issuer: str
    issuers: tuple[str, ...]
    scep_issuer: str
    scep_ra: bool
    est: bool
    ocsp: bool
    manufacturers: bool
    est_labels: tuple[str, ...] = ()
    scep_labels: tuple[str, ...] = ()

    @property
    def clear(self) -> str:
        """Return the base URL for SCEP: its own listener before plain HTTP before HTTPS."""
        return self.scep or self.http or self.https


@dataclass(frozen=True, slots=True)
class Command:
    """A command to copy.

    :param program: required program: ``curl``, ``openssl``, ``pki``, ``sscep``, ``estclient``,
        ``powershell``.
    """

    program: str
    text: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint at one address, with the commands that use it."""

    method: str
    path: str
    what: str
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Endpoints of one kind."""

    name: str
    title: str
    about: str
    endpoints: tuple[Endpoint, ...]


def curl(text: str) -> Command:
    """Return a call of curl that fails for an answer that is an error."""
    return Command("curl", f"curl --fail --silent --show-error {text}")


def openssl(text: str) -> Command:
    """Return a call of openssl."""
    return Command("openssl", f"openssl {text}")


def sscep(url: str, operation: str, options: str) -> tuple[Command, ...]:
    """Return a call of sscep; none for an HTTPS URL, which that program doesn't know."""
    return (Command("sscep", f"sscep {operation} -u {url} {options}"),) if url.startswith("http://") else ()


def powershell(url: str, method: str = "Get", body: str = "") -> Command:
    """Return a call of REST for PowerShell 7 with the token of the file ``token``.

    :param body: a PowerShell hash table.
    """
    json = f" -ContentType 'application/json' -Body ({body} | ConvertTo-Json)" if body else ""
    return Command(
        "powershell",
        "$token = (Get-Content -Raw token).Trim() -replace '^Authorization: Bearer ' |\n"
        "    ConvertTo-SecureString -AsPlainText -Force\n"
        f"Invoke-RestMethod -Authentication Bearer -Token $token -Method {method} -Uri '{url}'{json}",
    )


def server_of(url: str) -> str:
    """Return host and port of an HTTPS URL."""
    server = url.removeprefix("https://")
    return server if server.rpartition(":")[2].isdecimal() else f"{server}:443"


def sections(location: Location, *, admin: bool = False) -> Sequence[Section]:
    """Return the endpoints of a server that an account may use, in the order of a first trial."""
    result = [Section("trust", "CA certificates", _TRUST, tuple(_trust(location)))]
    if location.est:
        result.append(Section("est", "EST", _ABOUT_EST, tuple(_est(location))))
    if location.scep_issuer:
        result.append(Section("scep", "SCEP", _ABOUT_SCEP, tuple(_scep(location))))
    if location.ocsp:
        result.append(Section("ocsp", "OCSP", _ABOUT_OCSP, tuple(_ocsp(location))))
    result.append(Section("crl", "CRL", _ABOUT_CRL, tuple(_crl(location))))
    result.append(Section("rest", "REST", _ABOUT_REST, tuple(_rest(location))))
    result.append(Section("status", "Status and health", _ABOUT_STATUS, tuple(_status(location, admin=admin))))
    return result


_TRUST: Final = (
    "Anyone may fetch these. Compare the root's fingerprint with one that you got in another way: everything below "
    "trusts the file root.crt."
)
_ABOUT_EST: Final = (
    "Enrollment by RFC 7030. Who may: an account (its password is asked for), a client certificate, or a challenge "
    "password in the request. A policy that is used for EST is chosen by its name after /est/, URL-escaped; without a "
    "name the default policy applies."
)
_ABOUT_SCEP: Final = (
    "Enrollment by RFC 8894, with RSA keys. A first enrollment takes a challenge password: put one from the page "
    "Challenge Passwords into the file challenge. A policy that is used for SCEP is chosen by its name after "
    "/scep/, URL-escaped; without a name the default policy applies."
)
_ABOUT_OCSP: Final = "The status of single certificates by RFC 6960; here of device.crt, which EST has fetched above."
_ABOUT_CRL: Final = "What is revoked, for brokers and servers that read lists. Anyone may fetch them."
_ABOUT_REST: Final = (
    "Everything that the pages do. Make a token on the page Account, and keep it in the file token with mode 0600, as "
    "one line: Authorization: Bearer TOKEN. The reference has all operations. The commands for PowerShell "
    "need version 7, and the root certificate among those that the system trusts."
)
_ABOUT_STATUS: Final = "For monitoring, and for applications that ask about one serial number."


def _trust(location: Location) -> Iterator[Endpoint]:
    # HTTPS can't be verified before the root's certificate is there, so plain HTTP is no weaker.
    base = location.http or location.https
    insecure = "" if location.http else "--insecure "
    yield Endpoint(
        "GET",
        "/ca/root.crt",
        "The root's certificate, PEM",
        (
            curl(f"{insecure}--output root.crt {base}/ca/root.crt"),
            openssl("x509 -in root.crt -noout -subject -fingerprint -sha256"),
        ),
    )
    for name in location.issuers:
        yield Endpoint(
            "GET",
            f"/ca/{name}.crt",
            f"The issuing CA {name}, PEM; /ca/{name}.cer is DER",
            (
                curl(f"{insecure}--output {name}.crt {base}/ca/{name}.crt"),
                curl(f"{insecure}--output {name}.cer {base}/ca/{name}.cer"),
                openssl(f"verify -CAfile root.crt {name}.crt"),
            ),
        )
        yield Endpoint(
            "GET",
            f"/ca/{name}/chain.pem",
            f"{name} and all above it, PEM",
            (curl(f"{insecure}--output {name}-chain.pem {base}/ca/{name}/chain.pem"),),
        )
    yield Endpoint(
        "GET",
        "/downloads/chain",
        "The chain of the default issuing CA, PEM",
        (curl(f"{insecure}--output chain.pem {base}/downloads/chain"),),
    )
    if location.manufacturers:
        yield Endpoint(
            "GET",
            "/downloads/manufacturers",
            "Further CAs whose client certificates are trusted, PEM",
            (curl(f"{insecure}--output manufacturers.pem {base}/downloads/manufacturers"),),
        )


def _est(location: Location) -> Iterator[Endpoint]:
    url, user = f"{location.https}{_EST}", f"--user {shlex.quote(location.account)}"
    server = server_of(location.https)
    trust = f"--cacert root.crt --cacert {location.issuer}.crt"
    yield Endpoint(
        "GET",
        f"{_EST}/cacerts",
        "The CA certificates, as PKCS#7",
        (
            Command("curl", f"{curl(f'--cacert root.crt {url}/cacerts').text} | {PKCS7} -out cacerts.pem"),
            Command("pki", f"pki --estca --url {location.https} {trust} --caout estca.pem --outform pem --force"),
            Command("estclient", f"estclient cacerts -server {server} -explicit root.crt -out cacerts.pem"),
        ),
    )
    yield Endpoint(
        "GET",
        f"{_EST}/csrattrs",
        "What a request should hold; 204 where nothing is demanded",
        (curl(f"--cacert root.crt {user} --output csrattrs {url}/csrattrs"),),
    )
    body = f"{PKCS10} --data-binary @device.csr"
    yield Endpoint(
        "POST",
        f"{_EST}/simpleenroll",
        "A first certificate; the request comes in PEM, base64 or DER",
        (
            openssl(f"{_NEW_KEY} -keyout device.key -subj /CN=device-1 -out device.csr"),
            Command(
                "curl",
                f"{curl(f'--cacert root.crt {user} {body} {url}/simpleenroll').text} | {PKCS7} -out device.crt",
            ),
            Command(
                "pki",
                "openssl req -in device.csr -outform DER -out device.der && "
                f"pki --est --url {location.https} --in device.der {trust} "
                f"--userpass {shlex.quote(location.account)}:PASSWORD --outform pem >device.crt",
            ),
            Command(
                "estclient",
                f"estclient enroll -server {server} -explicit root.crt -csr device.csr "
                f"-user {shlex.quote(location.account)} -pass PASSWORD -out device.crt",
            ),
        ),
    )
    yield Endpoint(
        "POST",
        f"{_EST}/simpleenroll",
        "The same without an account: the CSR contains a challenge password, here a new one from REST",
        (
            _new_challenge(location, "est-challenge.json"),
            openssl(
                f"{_NEW_KEY} -keyout challenged.key "
                f"-out challenged.csr {_challenge_config('device-4', _member('password', 'est-challenge.json'))}"
            ),
            Command(
                "curl",
                f"{curl(f'--cacert root.crt {PKCS10} --data-binary @challenged.csr {url}/simpleenroll').text} | "
                f"{PKCS7} -out challenged.crt",
            ),
        ),
    )
    renewal = location.trusted_https or location.https
    yield Endpoint(
        "POST",
        f"{_EST}/simpleenroll",
        "The same with a client certificate: a certificate for a new key of the same device",
        (
            openssl(f"{_NEW_KEY} -keyout second.key -subj /CN=device-1 -out second.csr"),
            Command(
                "curl",
                f"{curl(f'--cacert root.crt --cert device.crt --key device.key {PKCS10}').text} "
                f"--data-binary @second.csr {renewal}{_EST}/simpleenroll | {PKCS7} -out second.crt",
            ),
        ),
    )
    yield Endpoint(
        "POST",
        f"{_EST}/simplereenroll",
        "A new certificate for the old one, which signs in as a client certificate",
        (
            Command(
                "curl",
                f"{curl(f'--cacert root.crt --cert device.crt --key device.key {body}').text} "
                f"{renewal}{_EST}/simplereenroll | {PKCS7} -out renewed.crt",
            ),
        ),
    )
    yield Endpoint(
        "POST",
        f"{_EST}/serverkeygen",
        "A key made by the server, and its certificate: multipart, key (PKCS#8) first",
        (curl(f"--cacert root.crt {user} {body} --output serverkeygen {url}/serverkeygen"),),
    )
    for label in location.est_labels:
        path = f"{quote(label, safe='')}/simpleenroll"
        yield Endpoint(
            "POST",
            f"{_EST}/{path}",
            f"A certificate under the policy {label}",
            (curl(f"--cacert root.crt {user} {body} --output device.p7 {url}/{path}"),),
        )


def _scep(location: Location) -> Iterator[Endpoint]:
    url, issuer = f"{location.clear}/scep", location.scep_issuer
    insecure = "--cacert root.crt " if url.startswith("https://") else ""
    yield Endpoint(
        "GET",
        "/scep?operation=GetCACaps",
        "What this server can do",
        (curl(f"{insecure}'{url}?operation=GetCACaps'"),),
    )
    yield Endpoint(
        "GET",
        "/scep?operation=GetCACert",
        "The certificate to encrypt for: DER of the CA, or PKCS#7 of its RA and chain",
        (
            curl(f"{insecure}--output scepca '{url}?operation=GetCACert'"),
            *sscep(url, "getca", "-c sscep-ca.pem"),
        ),
    )
    ca_certificate = f"{issuer}.crt"
    first = ""
    if location.scep_ra:
        ca_certificate = "scep-ra.crt"
        first = f"pki --scepca --url {url} --caout scep-ca.crt --raout {ca_certificate} --outform pem --force && "
    yield Endpoint(
        "POST",
        "/scep?operation=PKIOperation",
        "Enrollment, renewal, polling, and questions for certificates and CRLs",
        (
            Command(
                "pki",
                f'openssl genrsa -out scep.key 2048 && {first}pki --scep --url {url} --in scep.key --dn "CN=device-2" '
                f'--password "$(cat challenge)" --cacert-enc {ca_certificate} --cacert-sig {ca_certificate} '
                f"--cacert root.crt{f' --cacert {issuer}.crt' if location.scep_ra else ''} --outform pem >scep.crt",
            ),
            openssl(_with_challenge()),
            *sscep(url, "enroll", "-c sscep-ca.pem -k sscep.key -r sscep.csr -l sscep.crt -E aes256 -S sha256"),
            *sscep(url, "getcrl", "-c sscep-ca.pem -k sscep.key -l sscep.crt -w scep.crl"),
        ),
    )
    yield Endpoint(
        "GET",
        "/scep?operation=GetNextCACert",
        "The CA certificate that will replace the current one, while there is one",
        sscep(url, "getnextca", "-C sscep-ca.pem -c scep-next-ca.pem"),
    )
    renewal = "-k renewed.key -r renewed.csr -K sscep.key -O sscep.crt -l renewed.crt"
    if plain := sscep(url, "enroll", f"-c sscep-ca.pem {renewal} -E aes256 -S sha256"):
        yield Endpoint(
            "POST",
            "/scep?operation=PKIOperation",
            "Renewal: the current certificate signs the request for a new key; no challenge password is needed",
            (
                openssl("req -new -newkey rsa:2048 -nodes -keyout renewed.key -out renewed.csr -subj /CN=device-3"),
                *plain,
            ),
        )
    for label in location.scep_labels:
        path = quote(label, safe="")
        yield Endpoint(
            "GET",
            f"/scep/{path}?operation=GetCACert",
            f"Certificates under the policy {label}: the certificate to encrypt for",
            (curl(f"{insecure}--output scepca '{url}/{path}?operation=GetCACert'"),),
        )


def _with_challenge() -> str:
    """Return the command that creates a CSR with a challenge password without a prepared configuration file."""
    config = _challenge_config("device-3", "$(cat challenge)")
    return f"req -new -newkey rsa:2048 -nodes -keyout sscep.key -out sscep.csr {config}"


def _challenge_config(name: str, challenge: str) -> str:
    """Return the option of openssl for a configuration with a common name and a challenge password."""
    return (
        "-config /dev/stdin <<END\n"
        "[req]\nprompt = no\ndistinguished_name = dn\nattributes = attributes\n"
        f"[dn]\nCN = {name}\n[attributes]\nchallengePassword = {challenge}\nEND"
    )


def _new_challenge(location: Location, file: str) -> Command:
    """Return the command that creates a challenge password over REST, and writes the answer to a file."""
    url = f"{location.https}/api/v1/challenge-passwords"
    return curl(f"--cacert root.crt {_BEARER} {_JSON} --data '{{}}' --output {file} {url}")


def _member(name: str, file: str) -> str:
    """Return the shell expression for a member, a text or a number, of a JSON object in a file."""
    return f"""$(sed 's/.*"{name}": *"*\\([^",]*\\).*/\\1/' {file})"""


def _ocsp(location: Location) -> Iterator[Endpoint]:
    base = location.http or location.https
    question = f"-issuer {location.issuer}.crt -cert device.crt"
    yield Endpoint(
        "POST",
        "/ocsp",
        "Ask about a certificate; the answer is verified",
        (openssl(f"ocsp {question} -CAfile {location.issuer}-chain.pem -url {base}/ocsp"),),
    )
    trust = "" if location.http else "--cacert root.crt "
    yield Endpoint(
        "GET",
        "/ocsp/BASE64",
        "The same as one address, which proxies can keep",
        (
            Command(
                "curl",
                f"""curl --fail --silent --show-error {trust}--output answer.der {base}/ocsp/"$(openssl ocsp \
{question} -no_nonce -reqout - | openssl base64 -A | sed 's/+/%2B/g; s,/,%2F,g')\"""",
            ),
            openssl("ocsp -respin answer.der -noverify -resp_text"),
        ),
    )


def _crl(location: Location) -> Iterator[Endpoint]:
    base = location.http or location.https
    trust = "" if location.http else "--cacert root.crt "
    yield Endpoint(
        "GET",
        "/downloads/crl",
        "The default issuing CA's CRL, PEM",
        (curl(f"{trust}--output crl.pem {base}/downloads/crl"),),
    )
    for name in location.issuers:
        yield Endpoint(
            "GET",
            f"/crl/{name}.crl",
            f"The CRL of {name}, DER; /crl/{name}.pem is PEM",
            (
                curl(f"{trust}--output {name}.crl {base}/crl/{name}.crl"),
                openssl(f"crl -inform DER -in {name}.crl -noout -text"),
            ),
        )
        yield Endpoint(
            "GET",
            f"/crl/{name}-chain.pem",
            f"The CRLs of {name} and of all above it, PEM, as brokers want them",
            (curl(f"{trust}--output {name}-crls.pem {base}/crl/{name}-chain.pem"),),
        )


def _rest(location: Location) -> Iterator[Endpoint]:
    url = f"{location.https}/api/v1"
    trust = f"--cacert root.crt {_BEARER}"
    json = f"{trust} {_JSON}"
    pem = '"$(awk \'{printf "%s\\\\n", $0}\' device.csr)"'
    yield Endpoint(
        "POST",
        "/api/v1/certificates",
        "Sign a CSR",
        (
            Command(
                "curl",
                f"""printf '{{"csr": "%s"}}' {pem} |\n"""
                f"    {curl(f'{json} --data-binary @- --output issued.json {url}/certificates').text}",
            ),
            powershell(f"{url}/certificates", "Post", "@{ csr = [string](Get-Content -Raw device.csr) }"),
        ),
    )
    yield Endpoint(
        "GET",
        "/api/v1/certificates",
        "Issued certificates, by page, filter and order",
        (
            curl(f"{trust} '{url}/certificates?limit=25&status=valid&sort=-id'"),
            powershell(f"{url}/certificates?limit=25&status=valid&sort=-id"),
        ),
    )
    yield Endpoint(
        "GET",
        "/api/v1/certificates/ID",
        "One of them; /download?format=pem|der|p7b|chain gives a file",
        (curl(f"{trust} {url}/certificates/ID"), curl(f"{trust} '{url}/certificates/ID/download?format=chain'")),
    )
    yield Endpoint(
        "POST",
        "/api/v1/certificates/ID/revocation",
        "Revoke it",
        (
            curl(f"""{json} --data '{{"reason": "superseded"}}' {url}/certificates/ID/revocation"""),
            powershell(f"{url}/certificates/ID/revocation", "Post", "@{ reason = 'superseded' }"),
        ),
    )
    order = '{"subject": "CN=device-5", "key": {"type": "EC", "curve": "prime256v1"}}'
    yield Endpoint(
        "POST",
        "/api/v1/certificates/ID/pfx",
        "PKCS#12 of a certificate whose key is stored here; the token needs all scopes of its account",
        (
            curl(f"{json} --data '{order}' --output stored.json {url}/certificates"),
            curl(
                f"""{json} --data '{{"passphrase": "correct horse battery staple"}}' --output device.pfx """
                f"""{url}/certificates/"{_first_id("stored.json")}"/pfx"""
            ),
            openssl("pkcs12 -in device.pfx -passin 'pass:correct horse battery staple' -nokeys -info"),
        ),
    )
    yield Endpoint(
        "GET",
        "/requests/ID/download",
        "A stored CSR as a PEM file",
        (
            Command(
                "curl",
                f"""printf '{{"csr": "%s"}}' {pem} |\n"""
                f"    {curl(f'{json} --data-binary @- --output csr.json {url}/csrs').text}",
            ),
            curl(f"""{trust} --output stored.csr {location.https}/requests/"{_first_id("csr.json")}"/download"""),
        ),
    )
    yield Endpoint(
        "POST",
        "/api/v1/challenge-passwords",
        "A challenge password for one enrollment",
        (
            curl(f"{json} --data '{{}}' {url}/challenge-passwords"),
            powershell(f"{url}/challenge-passwords", "Post", "@{}"),
        ),
    )
    yield Endpoint(
        "POST",
        "/api/v1/inspect",
        "What an object is",
        (
            Command(
                "curl",
                f"""printf '{{"data": "%s"}}' {pem} |\n    {curl(f"{json} --data-binary @- {url}/inspect").text}""",
            ),
        ),
    )
    yield Endpoint(
        "GET",
        "/api/v1/events",
        "The audit log",
        (curl(f"{trust} '{url}/events?limit=25'"), powershell(f"{url}/events?limit=25")),
    )
    yield Endpoint(
        "GET",
        "/api/v1/openapi.json",
        "The description of all operations, for anyone",
        (curl(f"--cacert root.crt --output openapi.json {url}/openapi.json"),),
    )


def _first_id(file: str) -> str:
    """Return the shell expression for the ID of the JSON object in a file, which is its first member."""
    return f"""$(sed 's/^{{"id": *\\([0-9]*\\).*/\\1/' {file})"""


def _status(location: Location, *, admin: bool) -> Iterator[Endpoint]:
    serial = "$(openssl x509 -in device.crt -noout -serial | cut -d= -f2)"
    yield Endpoint(
        "GET",
        "/status/SERIAL",
        "valid, revoked, expired or not found; the serial number in hexadecimal digits",
        (curl(f'--cacert root.crt "{location.https}/status/{serial}"'),),
    )
    yield Endpoint(
        "GET",
        "/expired",
        "Ids of expired certificates",
        (curl(f"--cacert root.crt '{location.https}/expired?after=0&limit=1000'"),),
    )
    base = location.http or location.https
    trust = "" if location.http else "--cacert root.crt "
    if admin:
        metrics = f"--cacert root.crt --header @token {location.https}/metrics"
        yield Endpoint("GET", "/metrics", "Metrics for Prometheus, for administrators", (curl(metrics),))
    yield Endpoint("GET", "/healthz", "Liveness", (curl(f"{trust}{base}/healthz"),))
    yield Endpoint("GET", "/readyz", "Readiness, with the state of each component", (curl(f"{trust}{base}/readyz"),))
