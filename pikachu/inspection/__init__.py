"""Inspection of pasted or uploaded objects: recognised, decoded, described; nothing is stored.

Begin with ``service``; ``recognition`` tells the kinds of objects apart, ``openssl_program`` adds OpenSSL's text.
"""
