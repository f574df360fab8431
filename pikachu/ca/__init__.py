"""The certification authority (CA): issues and revokes, and loses nothing on the way (docs/issuance.md).

Begin with ``issuance``; ``generations`` and ``rotation`` are about changing CA keys, ``bootstrap`` about making
a CA where there is none, ``service_certificates`` about what the CA issues to itself.
"""
