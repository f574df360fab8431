"""The default policy of each owner and protocol.

Until now an owner had one policy used for a protocol, which applied on the path without a label: it is the default.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_PROTOCOLS = ("est", "scep")


def upgrade() -> None:
    """Add the marks, set those of the policies in use, and allow one for each owner and protocol."""
    for protocol in _PROTOCOLS:
        mark = sa.Column(f"default_for_{protocol}", sa.SmallInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("policies", mark)
        # No input: the constants above.  The oldest, should an owner have several.
        op.execute(
            f"UPDATE policies SET default_for_{protocol} = 1 WHERE id IN ("  # noqa: S608
            f"SELECT min(id) FROM policies WHERE use_for_{protocol} = 1 AND (system = 1 OR owner_id IS NOT NULL) "
            "GROUP BY system, CASE WHEN system = 1 THEN 0 ELSE owner_id END)"
        )
        owned = sa.text(f"default_for_{protocol} = 1 AND system = 0")
        op.create_index(
            f"policies_{protocol}_default",
            "policies",
            ["owner_id"],
            unique=True,
            sqlite_where=owned,
            postgresql_where=owned,
        )
        system = sa.text(f"default_for_{protocol} = 1 AND system = 1")
        op.create_index(
            f"policies_{protocol}_system_default",
            "policies",
            ["system"],
            unique=True,
            sqlite_where=system,
            postgresql_where=system,
        )
