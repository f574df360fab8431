"""The linter pkilint, an extra of this program (LNT-1).

:mod:`.linter` runs it as a program of its own, :mod:`.pkilint_program`, since a hostile certificate could make it run
for ever or take all memory.  The rules of this program itself are in :mod:`pikachu.x509.lint`.
"""
