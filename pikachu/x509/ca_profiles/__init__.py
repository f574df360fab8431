"""Profiles of other CA programs as OpenSSL-style texts: pure functions of their configuration files (OPS-7)."""

from pikachu.x509.ca_profiles.cfssl import read_cfssl
from pikachu.x509.ca_profiles.easy_rsa import EASY_RSA_DAYS, read_easy_rsa_type, read_easy_rsa_variables
from pikachu.x509.ca_profiles.model import CAProfile, UnusableProfile
from pikachu.x509.ca_profiles.openssl import read_openssl

__all__ = [
    "EASY_RSA_DAYS",
    "CAProfile",
    "UnusableProfile",
    "read_cfssl",
    "read_easy_rsa_type",
    "read_easy_rsa_variables",
    "read_openssl",
]
