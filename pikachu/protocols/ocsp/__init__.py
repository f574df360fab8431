"""Online Certificate Status Protocol (RFC 6960, 9654, 5019)."""
