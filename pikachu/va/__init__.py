"""The validation authority (VA): certificate status by OCSP, and CRLs made and published.

Begin with ``ocsp`` for responses, ``crl_publisher`` for when a CRL is made, ``crl_files`` for how it is written.
"""
