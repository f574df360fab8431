"""Runs pkilint's rules of RFC 5280 on certificates, in a process of its own with bounds of time and memory.

It is run by its path: ``python -I pkilint_program.py SECONDS``.  Each line of standard input is a JSON list of DER
certificates in Base64, and each line of standard output the JSON list of the findings about them: each a list of
severity, code, path, message and the value in that place.  It ends when it takes longer, and when it has nothing to do.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

_MEMORY = 1 << 30
_IDLE_SECONDS = 300
_MAX_FINDINGS = 200
_MAX_TEXT = 300
_NICENESS = 5


def _rules() -> Any:
    from pkilint.pkix import certificate, extension, name

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


def _findings(rules: Any, certificate: bytes) -> Iterator[list[str]]:
    from pkilint import loader

    document = loader.load_certificate(certificate, "certificate")
    for result in rules.validate(document.root):
        for description in result.finding_descriptions:
            finding = description.finding
            value = "" if result.node.children else str(result.node.pdu)
            texts = (result.node.path, description.message or "", value)
            yield [finding.severity.name, finding.code, *(text[:_MAX_TEXT] for text in texts)]


def _lint(rules: Any, certificates: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    for certificate in certificates:
        try:
            for finding in _findings(rules, base64.b64decode(certificate)):
                if len(found) < _MAX_FINDINGS and finding not in found:
                    found.append(finding)
        # Whatever it raises, such as RecursionError, is about this certificate.
        except Exception as error:  # noqa: BLE001
            found.append(["FATAL", "raised", "", type(error).__name__, ""])
    return found


def main(seconds: int) -> None:
    """Lint the certificates on standard input, until it ends.

    :param seconds: the time for one line; the default action of SIGALRM ends the process.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    signal.alarm(seconds)
    rules = _rules()
    while True:
        signal.alarm(0)
        if not select.select([sys.stdin], [], [], _IDLE_SECONDS)[0]:
            return
        line = sys.stdin.readline()
        if not line:
            return
        signal.alarm(seconds)
        sys.stdout.write(json.dumps(_lint(rules, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
