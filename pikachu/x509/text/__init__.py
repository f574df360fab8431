"""Certificates, CSRs, CRLs and other objects as text, in the style of the ``openssl`` program.

Nothing is validated: objects that the CA would reject are shown as well.  Unreadable objects raise
:class:`pikachu.core.errors.MalformedRequest`; the size of a text is bounded for any input.
"""

from __future__ import annotations

from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.crl import crl_text
from pikachu.x509.text.csr import csr_text

__all__ = ["certificate_text", "crl_text", "csr_text"]
