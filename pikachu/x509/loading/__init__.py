"""The one place that gives keys and certificates to a library.

A library loads any kind of key: it proves the primes of a Diffie-Hellman key, or computes with numbers as large as a
stranger writes, for seconds to minutes and with the GIL held.  So the kind, the lengths and the numbers of a key are
read here first, within bounds, and only RSA, the named curves, Ed25519 and ML-DSA go on.  Begin with
:func:`pikachu.x509.loading.public_keys.read_public_key`; private keys and certificates follow the same way.
"""
