"""Tests of pikachu.signers."""
