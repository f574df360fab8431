"""The only place that passes keys and certificates to a library.

A library loads any type of key: it proves the primes of a Diffie-Hellman key, or computes with numbers as large as a
client sends, for seconds to minutes and with the GIL held.  Therefore this package first parses the type, the lengths
and the numbers of a key within bounds, and passes on only RSA, the named curves, Ed25519 and ML-DSA.  Start with
:func:`pikachu.x509.loading.public_keys.read_public_key`; private keys and certificates work the same way.
"""
