"""The registration authority (RA): authenticates requesters, verifies CSRs, chooses the policy and decides.

Begin with ``enrollment``, the service that every enrollment uses; ``est``, ``scep`` and ``authority`` (accounts) add
what is specific to a client.  ``policies`` chooses the policy.  Certificates are issued by ``pikachu.ca``.
"""
