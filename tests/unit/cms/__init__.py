"""Messages that are signed or encrypted."""
