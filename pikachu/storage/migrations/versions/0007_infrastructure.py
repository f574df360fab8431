"""The role of the CA's own certificates.

Issuing CAs and the root enter the inventory at the next start, from their files.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# The names that earlier versions gave to the CA's own services; the rest are roll-over certificates.
_ROLES = (
    ("ocsp_responder", "subject LIKE 'CN=OCSP responder of %'"),
    ("scep_ra", "subject LIKE 'CN=SCEP RA of %'"),
    ("rollover", "infrastructure IS NULL"),
)


def upgrade() -> None:
    """Add the column and its index, and mark what the CA has issued to itself."""
    op.add_column("certificates", sa.Column("infrastructure", sa.Text(), nullable=True))
    for role, condition in _ROLES:
        # No input: the constants above.
        op.execute(f"UPDATE certificates SET infrastructure = '{role}' WHERE method = 'CA' AND {condition}")  # noqa: S608
    own = sa.text("infrastructure IS NOT NULL")
    op.create_index(
        "certificates_infrastructure",
        "certificates",
        ["infrastructure", "revoked_at", "id"],
        sqlite_where=own,
        postgresql_where=own,
    )
