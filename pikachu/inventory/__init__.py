"""Stored and listed objects: certificates, keys, CSRs, certificate templates and their files."""
