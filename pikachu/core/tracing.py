"""Log events of level TRACE, below the levels of twisted.logger."""

from __future__ import annotations

from twisted.logger import Logger


def trace(log: Logger, format: str, **values: object) -> None:
    """Log an event of level TRACE."""
    log.debug(format, log_below_debug=True, **values)
