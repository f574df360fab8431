"""The extension text that ``pikachu init`` writes to ``server_ext_cfg``."""

from __future__ import annotations

from typing import Final

DEFAULT_SERVER_EXTENSIONS: Final = """\
# Extensions of the certificates that the default policy issues, to devices and servers.
# The CA adds keyUsage by the type of the key, and honours the request's subjectAltName.
[ v3_ext ]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
"""Without keyUsage: keyEncipherment would be wrong for EC, Ed25519 and ML-DSA keys (RFC 8813, RFC 8410, RFC 9881)."""
