"""The settings of housekeeping (OPS-6), from ``[HOUSEKEEPING]`` and where files are written."""

from __future__ import annotations

from datetime import timedelta
from glob import escape
from pathlib import Path
from tempfile import gettempdir
from typing import Final

from pikachu.config.configuration import Configuration
from pikachu.operations.housekeeping import HousekeepingSettings
from pikachu.operations.temporary_files import IOldFiles, OldFiles, TemporaryFiles

#: Longer than anything is written or a backup takes.
_TEMPORARY_KEPT: Final = timedelta(days=2)


def housekeeping_settings(config: Configuration) -> HousekeepingSettings:
    """Return what is kept how long."""
    section = config.housekeeping
    files: dict[str, tuple[IOldFiles, timedelta]] = {}
    if section.dumps_kept is not None and config.scep.dump_dir is not None:
        files["SCEP messages"] = (OldFiles(config.scep.dump_dir, "*Z-*.*.der"), timedelta(seconds=section.dumps_kept))
    if section.logs_kept is not None and config.logging.log_file is not None:
        log_file = config.logging.log_file
        old_logs = OldFiles(log_file.parent, f"{escape(log_file.name)}.[0-9]*")
        files["log files"] = (old_logs, timedelta(seconds=section.logs_kept))
    folders = {config.path.parent, config.paths.crl_dir or config.paths.crl_path.parent, config.paths.db_path.parent}
    if config.audit.checkpoint_dir is not None:
        folders.add(config.audit.checkpoint_dir)
    files["temporary files"] = (TemporaryFiles(tuple(sorted(folders)), Path(gettempdir())), _TEMPORARY_KEPT)
    return HousekeepingSettings(
        _optional(section.challenge_passwords_kept),
        timedelta(seconds=section.jobs_kept),
        _optional(section.events_kept),
        files,
    )


def _optional(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
