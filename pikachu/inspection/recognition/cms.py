"""PKCS#7 and CMS messages."""

from __future__ import annotations

from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.x509 import der
from pikachu.x509.text.cms import cms_text, read_message
from pikachu.x509.text.descriptions import name_text


def message(data: bytes) -> Decoded:
    """Decode a CMS ContentInfo.

    :raises MalformedRequest: *data* is not a ContentInfo.
    """
    text = cms_text(data)
    parsed = read_message(data)
    facts: list[Fact] = [("content_type", parsed.type), ("content", "; ".join(parsed.content) or "none")]
    if parsed.recipients:
        facts.append(("recipients", tuple(parsed.recipients)))
    if parsed.type == "signedData":
        facts += [
            ("certificates", tuple(subject_of(certificate) for certificate in parsed.certificates)),
            ("crls", len(parsed.crls)),
            ("signers", tuple(signer[0] for signer in parsed.signers)),
        ]
    return Decoded(tuple(facts), text)


def subject_of(certificate: bytes) -> str:
    """Return the subject of a DER certificate that was decoded before."""
    fields = der.parse(certificate).sub()[0].sub()
    return name_text(fields[5 if fields[0].tag == 0xA0 else 4])
