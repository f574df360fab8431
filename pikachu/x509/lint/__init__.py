"""Lint: the rules of RFC 5280 and its updates that a certificate is held to before it is signed (LNT-1).

Begin with :func:`pikachu.x509.lint.rules.lint`, which issuance calls once for each certificate.  :mod:`.extensions` has
the rules of extensions, whose findings are cached, since most certificates share them, and :mod:`.names` those of the
subject and of alternative names.
"""
