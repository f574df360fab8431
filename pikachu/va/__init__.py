"""The validation authority (VA): certificate status by OCSP, and publication of CRLs.

Begin with ``ocsp`` for responses, ``crl_publisher`` for scheduling and signing CRLs, ``crl_files`` for writing them.
"""
