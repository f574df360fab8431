"""The user guide, and the assistant that answers from it."""
