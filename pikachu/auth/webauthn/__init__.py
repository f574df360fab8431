"""Passkeys: WebAuthn credentials that sign in, alone or after the password (ROL-2).

``challenges`` makes and opens what a browser signs, ``ceremonies`` reads and verifies what it sends, and
``verification`` decides whom it signs in.  Begin with ``verification``.
"""
