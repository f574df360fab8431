"""Pikachu CA: a certificate authority for fleets of devices, in one Twisted process."""

__version__ = "0.1.0"
