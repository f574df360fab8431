"""Cryptographic Message Syntax (RFC 5652): signed and enveloped data, without any private key in here."""
