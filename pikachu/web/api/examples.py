"""Objects in the examples of the OpenAPI document; nobody has their private keys."""

from __future__ import annotations

from typing import Final

#: A CSR of a P-256 key for ``CN=pump-001.example.com``.
CSR: Final = """\
-----BEGIN CERTIFICATE REQUEST-----
MIIBDTCBswIBADAfMR0wGwYDVQQDDBRwdW1wLTAwMS5leGFtcGxlLmNvbTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABOl9dAgQLFgBOzlL68JxhghZfBLy9GDO8y7y
OYdA6DmEXZJYXsOcD/p91a9oi2SgDA4ApMoLeYGtDuneczPHzKigMjAwBgkqhkiG
9w0BCQ4xIzAhMB8GA1UdEQQYMBaCFHB1bXAtMDAxLmV4YW1wbGUuY29tMAoGCCqG
SM49BAMCA0kAMEYCIQDqxXvCANjNjSALbRaUNmclGF4v98PRXK2QP6faYDXRfQIh
AI23xPxRMzerdCG9CTt67HTgC8iPBYFqi5EJrxM+C2LO
-----END CERTIFICATE REQUEST-----
"""
#: A self-signed client certificate without an expiry date (RFC 5280 section 4.1.2.5).
CLIENT_CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBpzCCAU2gAwIBAgIUBYqpS6MSmpFQyCAU3giUp9vgU2IwCgYIKoZIzj0EAwIw
HzEdMBsGA1UEAwwUb3BlcmF0b3IuZXhhbXBsZS5jb20wIBcNMjYxMTI5MjA1MTEx
WhgPOTk5OTA5MTIyMDUxMTFaMB8xHTAbBgNVBAMMFG9wZXJhdG9yLmV4YW1wbGUu
Y29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgl844MR67+5kybrZ753EoTCg
xdh4l5vq9Anvq/5gOh76bdEDyBrdyf0PSUPbei1NnrsocYYzM0+rd3c5yt8qS6Nl
MGMwHQYDVR0OBBYEFKfvFTvq8O5CdVCL6CkjIg8PjgSuMB8GA1UdIwQYMBaAFKfv
FTvq8O5CdVCL6CkjIg8PjgSuMBMGA1UdJQQMMAoGCCsGAQUFBwMCMAwGA1UdEwEB
/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIhAKzgqOucUq3eLWUGvBLMnmCAxyYqqc/n
EWs/HaWEywp1AiAW6ud10+wKVyZo3Ay9TqF3bTL7z71A2A5OcU6ghJLD+w==
-----END CERTIFICATE-----
"""
#: Extensions of a TLS client certificate.
EXTENSIONS: Final = "keyUsage = critical, digitalSignature\nextendedKeyUsage = clientAuth\n"
#: A certificate template that configures CSRs.
TEMPLATE: Final = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = pump-001.example.com\n"
