"""X.509 as pure functions and values: no I/O, no clock, no reactor."""
