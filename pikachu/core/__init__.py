"""The foundation of every layer: errors, model values, interfaces, worker pools, sealing.

Begin with ``errors`` (the error classes) and ``model`` (the values passed between layers); ``interfaces`` are the
boundaries between layers as structural types.  It imports no other package of this program.
"""
