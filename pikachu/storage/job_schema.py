"""The tables of jobs; see :mod:`pikachu.storage.schema`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from pikachu.storage.schema import metadata

_Id: Final = BigInteger().with_variant(Integer, "sqlite")

# One action on many objects (JOB-1); "arguments" is JSON, "scopes" names separated by spaces.
jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("action", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("owner_id", _Id, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
_unended: Final = text("ended_at IS NULL")
Index("jobs_owner", jobs.c.owner_id, jobs.c.id)
Index("jobs_unended", jobs.c.id, sqlite_where=_unended, postgresql_where=_unended)
Index("jobs_ended", jobs.c.ended_at)
_filed: Final = text("size > 0")
Index("jobs_filed", jobs.c.ended_at, sqlite_where=_filed, postgresql_where=_filed)

# The objects of each job, in the order of their ids, with the outcome.
job_rows: Final = Table(
    "job_rows",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("object_id", _Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("ended_at", BigInteger),
    sqlite_autoincrement=True,
)
Index("job_rows_job", job_rows.c.job_id, job_rows.c.id)
Index("job_rows_unended", job_rows.c.job_id, job_rows.c.id, sqlite_where=_unended, postgresql_where=_unended)

# The parts of the files of jobs, one for each object that was exported.
job_files: Final = Table(
    "job_files",
    metadata,
    Column("row_id", _Id, primary_key=True, autoincrement=False),
    Column("job_id", _Id, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
Index("job_files_job", job_files.c.job_id, job_files.c.row_id)
