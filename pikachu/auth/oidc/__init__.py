"""OpenID Connect: signing in with a provider's accounts (ROL-2).

``provider`` speaks the protocol, ``id_tokens`` verifies what the provider signs, ``https`` calls it, and
``accounts`` links its people to accounts here.  Begin with ``provider``.
"""
