"""PKCS#7 and CMS messages."""

from __future__ import annotations

from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.x509 import der
from pikachu.x509.text.cms import cms_text, read_message
from pikachu.x509.text.descriptions import name_text


def message(data: bytes) -> Decoded:
    """A ContentInfo.

    :raises MalformedRequest: it is none.
    """
    text = cms_text(data)
    found = read_message(data)
    facts: list[Fact] = [("content_type", found.type), ("content", "; ".join(found.content) or "none")]
    if found.recipients:
        facts.append(("recipients", tuple(found.recipients)))
    if found.type == "signedData":
        facts += [
            ("certificates", tuple(subject_of(certificate) for certificate in found.certificates)),
            ("crls", len(found.crls)),
            ("signers", tuple(signer[0] for signer in found.signers)),
        ]
    return Decoded(tuple(facts), text)


def subject_of(certificate: bytes) -> str:
    """The subject of a DER certificate whose text was made before."""
    fields = der.parse(certificate).sub()[0].sub()
    return name_text(fields[5 if fields[0].tag == 0xA0 else 4])
