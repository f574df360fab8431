"""Issuing keys: the only room that signs."""
