"""The registration authority (RA): authenticates, verifies the CSR, chooses the policy and decides.

Begin with ``enrollment``, which every enrollment passes; ``est`` and ``scep`` are what the protocols add.
Issuance itself is ``pikachu.ca``.
"""
