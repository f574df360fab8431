"""The certification authority (CA): durable issuance and revocation (docs/issuance.md).

Begin with ``issuance``; ``generations`` and ``rotation`` are about CA key rotation, ``bootstrap`` about creating a CA,
``service_certificates`` about the certificates that the CA issues to its own services.
"""
