"""Certificates, requests, CRLs and what else people bring, as text in the manner of the ``openssl`` program.

Nothing here judges: what this authority would refuse is shown as well as anything else.  What can't be read at all
raises :class:`pikachu.core.errors.MalformedRequest`; the size of a text is bounded, whatever went in.
"""

from __future__ import annotations

from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.crl import crl_text
from pikachu.x509.text.csr import csr_text

__all__ = ["certificate_text", "crl_text", "csr_text"]
