"""Commands with which a device enrolls with a challenge password that is bound to its names (ISS-1).

Each way stands alone, after the commands that fetch the CA certificates: the password is good for one certificate.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from pikachu.core.model.people import BoundNames
from pikachu.web.ui.client_commands import PKCS7, PKCS10, Command, Location, curl, openssl, server_of, sscep
from pikachu.x509 import der
from pikachu.x509.names import attribute_name, parse_name
from pikachu.x509.san import parse_san

_ESCAPED: Final = re.compile(r"""[\\$#"'`;]|^ | $""")
_EC: Final = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
_RSA: Final = "-newkey rsa:2048"


@dataclass(frozen=True, slots=True)
class Enrollment:
    """An enrollment of a device.

    :param challenge: the challenge password.
    :param est_label: the name of the policy in EST paths; empty: the default policy; likewise *scep_label*.
    """

    names: BoundNames
    challenge: str
    est_label: str = ""
    scep_label: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A program, and the commands with which it enrolls."""

    name: str
    title: str
    about: str
    commands: tuple[Command, ...]


def ways(location: Location, enrollment: Enrollment, *, est: bool, scep: bool) -> Sequence[Way]:
    """Return the ways of a device to its certificate, in the order of preference.

    :param est: whether the policy may be used over EST; likewise *scep*.
    """
    result = [_trust(location)]
    # OpenSSL creates no CSR with a challenge password and an empty subject.
    is_named = bool(enrollment.names.subject)
    if location.est and est:
        result += [*(_est(location, enrollment) if is_named else ()), _powershell_way(location, enrollment)]
    if location.scep_issuer and scep and is_named:
        result += _scep(location, enrollment)
    return result


def request_configuration(names: BoundNames, challenge: str) -> str:
    """Return the configuration with which OpenSSL creates a CSR with these names and the challenge password."""
    lines = ["[req]", "prompt = no", "utf8 = yes", "string_mask = utf8only", "distinguished_name = dn"]
    lines += ["attributes = attributes", *(["req_extensions = extensions"] if names.san_der else []), "[dn]"]
    count = 0
    for rdn in parse_name(names.subject_der).rdns:
        for position, attribute in enumerate(rdn):
            plus = "+" if position else ""
            lines.append(f"{count}.{plus}{attribute_name(attribute.oid)} = {_escaped(attribute.value or '')}")
            count += 1
    lines += ["[attributes]", f"challengePassword = {challenge}"]
    if names.san_der:
        lines += ["[extensions]", "subjectAltName = @names", "[names]"]
        for number, name in enumerate(parse_san(names.san_der), 1):
            lines.append(f"{name.text.partition(':')[0]}.{number} = {_escaped(name.value)}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return a value as OpenSSL's configuration files escape it."""
    return _ESCAPED.sub(lambda match: f"\\{match[0]}", text)


def _create_csr(enrollment: Enrollment, key: str) -> Command:
    configuration = request_configuration(enrollment.names, enrollment.challenge)
    return openssl(
        f"req -new {key} -nodes -keyout device.key -out device.csr -config /dev/stdin <<'END'\n{configuration}\nEND"
    )


def _trust(location: Location) -> Way:
    # HTTPS can't be verified before the root's certificate is there, so plain HTTP is no weaker.
    base = location.http or location.https
    insecure = "" if location.http else "--insecure "
    names = dict.fromkeys(("root", location.issuer, location.scep_issuer or location.issuer))
    return Way(
        "trust",
        "CA certificates",
        "Fetch them first, and compare the root's fingerprint with one that you got in another way.",
        (
            *(curl(f"{insecure}--output {name}.crt {base}/ca/{name}.crt") for name in names),
            openssl("x509 -in root.crt -noout -subject -fingerprint -sha256"),
        ),
    )


def _est(location: Location, enrollment: Enrollment) -> Iterator[Way]:
    server = server_of(location.https)
    url = _est_url(location, enrollment)
    request = _create_csr(enrollment, _EC)
    yield Way(
        "curl",
        "EST with OpenSSL and curl",
        "Creates a key and a CSR with the challenge password, and sends it.",
        (
            request,
            Command(
                "curl",
                f"{curl(f'--cacert root.crt {PKCS10} --data-binary @device.csr {url}').text} | {PKCS7} -out device.crt",
            ),
        ),
    )
    option = f" -aps {shlex.quote(enrollment.est_label)}" if enrollment.est_label else ""
    yield Way(
        "estclient",
        "EST with estclient",
        "The CSR is that of OpenSSL.",
        (
            request,
            Command(
                "estclient",
                f"estclient enroll -server {server}{option} -explicit root.crt -csr device.csr -out device.crt",
            ),
        ),
    )
    if not enrollment.est_label:
        trust = f"--cacert root.crt --cacert {location.issuer}.crt"
        yield Way(
            "pki-est",
            "EST with strongSwan's pki",
            "The CSR is that of OpenSSL.",
            (
                request,
                Command(
                    "pki",
                    "openssl req -in device.csr -outform DER -out device.der && "
                    f"pki --est --url {location.https} --in device.der {trust} --outform pem >device.crt",
                ),
            ),
        )


def _powershell_way(location: Location, enrollment: Enrollment) -> Way:
    return Way(
        "powershell",
        "EST with PowerShell",
        "For PowerShell 7.3 or later on Windows. The key and the certificate are stored as device.pfx, without a "
        "password: import the file, then delete it.",
        (Command("powershell", powershell_script(enrollment, _est_url(location, enrollment))),),
    )


def _est_url(location: Location, enrollment: Enrollment) -> str:
    label = f"/{quote(enrollment.est_label, safe='')}" if enrollment.est_label else ""
    return f"{location.https}/.well-known/est{label}/simpleenroll"


def powershell_script(enrollment: Enrollment, url: str) -> str:
    """Return a script; the names are DER in Base64, so that no character of them needs escaping."""
    names = enrollment.names

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    san = ""
    if names.san_der:
        is_critical = "$true" if not names.subject else "$false"
        san = (
            "$request.CertificateExtensions.Add([Security.Cryptography.X509Certificates.X509Extension]::new(\n"
            f"    '2.5.29.17', [Convert]::FromBase64String('{text(names.san_der)}'), {is_critical}))\n"
        )
    challenge = der.utf8_string(enrollment.challenge)
    return (
        "$curve = [Security.Cryptography.ECCurve]::CreateFromValue('1.2.840.10045.3.1.7')\n"
        "$key = [Security.Cryptography.ECDsa]::Create($curve)\n"
        "$subject = [Security.Cryptography.X509Certificates.X500DistinguishedName]::new(\n"
        f"    [Convert]::FromBase64String('{text(names.subject_der)}'))\n"
        "$request = [Security.Cryptography.X509Certificates.CertificateRequest]::new($subject, $key, 'SHA256')\n"
        f"{san}"
        "$request.OtherRequestAttributes.Add([Security.Cryptography.AsnEncodedData]::new(\n"
        f"    '1.2.840.113549.1.9.7', [Convert]::FromBase64String('{text(challenge)}')))\n"
        "$body = [Convert]::ToBase64String($request.CreateSigningRequest())\n"
        "Import-Certificate -FilePath root.crt -CertStoreLocation Cert:\\CurrentUser\\Root\n"
        f"$answer = Invoke-WebRequest -Method Post -Uri '{url}' -ContentType 'application/pkcs10' -Body $body\n"
        "$text = if ($answer.Content -is [byte[]]) { [Text.Encoding]::ASCII.GetString($answer.Content) } "
        "else { $answer.Content }\n"
        "$cms = [Security.Cryptography.Pkcs.SignedCms]::new()\n"
        "$cms.Decode([Convert]::FromBase64String($text))\n"
        "$certificate = [Security.Cryptography.X509Certificates.ECDsaCertificateExtensions]::CopyWithPrivateKey(\n"
        "    $cms.Certificates[0], $key)\n"
        "[IO.File]::WriteAllBytes(\"$PWD/device.pfx\", $certificate.Export('Pfx'))"
    )


def _scep(location: Location, enrollment: Enrollment) -> Iterator[Way]:
    label = f"/{quote(enrollment.scep_label, safe='')}" if enrollment.scep_label else ""
    url, issuer = f"{location.clear}/scep{label}", location.scep_issuer
    about = "For devices without EST; the key is RSA."
    request = _create_csr(enrollment, _RSA)
    if getca := sscep(url, "getca", "-c sscep-ca.pem"):
        options = "-c sscep-ca.pem -k device.key -r device.csr -l device.crt -E aes256 -S sha256"
        yield Way("sscep", "SCEP with sscep", about, (request, *getca, *sscep(url, "enroll", options)))
    if _fits_pki(enrollment.names):
        encryption, first = f"{issuer}.crt", ""
        if location.scep_ra:
            encryption = "scep-ra.crt"
            first = f"pki --scepca --url {url} --caout scep-ca.crt --raout {encryption} --outform pem --force && "
        sans = "".join(f" --san {text.partition(':')[2]}" for text in enrollment.names.sans)
        yield Way(
            "pki-scep",
            "SCEP with strongSwan's pki",
            about,
            (
                Command(
                    "pki",
                    f"openssl genrsa -out device.key 2048 && {first}pki --scep --url {url} --in device.key "
                    f'--dn "{_pki_name(enrollment.names)}"{sans} --password {enrollment.challenge} '
                    f"--cacert-enc {encryption} --cacert-sig {encryption} --cacert root.crt"
                    f"{f' --cacert {issuer}.crt' if location.scep_ra else ''} --outform pem >device.crt",
                ),
            ),
        )


# Characters that neither the shell nor pki's parser of names reads as anything else.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ._@:-]+")


def _fits_pki(names: BoundNames) -> bool:
    attributes = [attribute for rdn in parse_name(names.subject_der).rdns for attribute in rdn]
    values = [attribute.value or "," for attribute in attributes] + [text.partition(":")[2] for text in names.sans]
    is_plain = all(_PLAIN.fullmatch(value) and value == value.strip() for value in values)
    kinds = {text.partition(":")[0] for text in names.sans}
    return is_plain and kinds <= {"DNS", "IP", "email"}


def _pki_name(names: BoundNames) -> str:
    rdns = parse_name(names.subject_der).rdns
    return ", ".join(f"{attribute_name(one.oid)}={one.value}" for rdn in rdns for one in rdn)
