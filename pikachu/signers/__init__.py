"""Issuing keys: the only package that signs.

Begin with ``key`` (a key that signs, and whether it may sign on the reactor); ``files`` loads and checks an issuing CA.
"""
