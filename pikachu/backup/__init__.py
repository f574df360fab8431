"""Backups of the whole CA in one encrypted file, and their restoration (OPS-3).

Begin with ``creation`` and ``restoration``.  ``encryption`` is the format of the file, ``archive`` what is in it,
``installation`` says which files belong to a CA and where each is restored; the database is copied by
``pikachu.storage.copies``.
"""
