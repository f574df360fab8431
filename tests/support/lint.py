# mypy: allow-untyped-calls
"""Verdicts of other programs on a certificate: pkilint's rules of RFC 5280, and ``openssl verify``."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, validation
from pkilint.pkix import certificate, extension, name

# Debian's openssl does not know ML-DSA.
_KNOWN = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)


@functools.cache
def _rules() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def findings(der: bytes) -> list[str]:
    """The findings of pkilint that are warnings or worse, as ``severity code path``."""
    document = loader.load_certificate(der, "certificate")
    found = []
    for result in _rules().validate(document.root):
        for description in result.finding_descriptions:
            finding = description.finding
            if finding.severity <= validation.ValidationFindingSeverity.WARNING:
                found.append(f"{finding.severity.name} {finding.code} {result.node.path} {description.message or ''}")
    return found


def check_certificate(der: bytes, chain: Sequence[bytes] = ()) -> None:
    """Fail the test unless *der* is a certificate without fault.

    :param chain: DER, from its issuer to the root: the signatures are checked as well, by openssl where it knows
        the keys and by pyca for ML-DSA.
    """
    assert findings(der) == []
    if chain:
        check_chain(der, chain)


def check_chain(der: bytes, chain: Sequence[bytes]) -> None:
    """Fail the test unless *chain* leads from *der* to a root, all of it valid when *der* begins."""
    path = [x509.load_der_x509_certificate(one) for one in (der, *chain)]
    for below, above in zip(path, [*path[1:], path[-1]], strict=True):
        below.verify_directly_issued_by(above)
    known = all(isinstance(one.public_key(), _KNOWN) for one in path)
    if not known or shutil.which("openssl") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / part for part in ("leaf.pem", "chain.pem", "root.pem")]
        for file, part in zip(files, (path[:1], path[1:-1], path[-1:]), strict=True):
            file.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in part))
        # Tests move their clocks.
        moment = str(int(path[0].not_valid_before_utc.timestamp()) + 1)
        command = ["openssl", "verify", "-x509_strict", "-attime", moment, "-trusted", str(files[2])]
        if len(path) > 2:
            command += ["-untrusted", str(files[1])]
        done = subprocess.run([*command, str(files[0])], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
