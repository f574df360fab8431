"""Measures the real server, next to other programs that do the same work: ``python -m bench`` (docs/bench.md)."""
