"""What every layer uses: errors, values of the model, interfaces, worker pools, sealing.

Begin with ``errors`` (every failure by name) and ``model`` (the values that layers hand to each other);
``interfaces`` are the boundaries between layers as structural types.  Imports nothing else of this program.
"""
