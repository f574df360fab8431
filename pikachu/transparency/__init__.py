"""The transparency log (TLG-1): one append-only Merkle tree over audit events and certificates.

Pure functions: the tree and its proofs (``merkle``), the storage of its hashes in tiles (``tiles``), what its leaves
contain (``leaves``), signed checkpoints (``checkpoints``) and proofs in files (``proofs``).  The formats are described
in docs/transparency.md.  Begin with ``merkle``.
"""
