"""Inspection of pasted or uploaded objects: recognised, decoded and described; nothing is stored.

Start with ``service``; ``recognition`` identifies and decodes objects, ``openssl_program`` adds OpenSSL's output.
"""
