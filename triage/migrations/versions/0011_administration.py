"""administration: peers added at run time, errands for the workers, bundles as they stand

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("status IN ('ASKED', 'RUNNING')")


def upgrade() -> None:
    op.create_table(
        "peers",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("network", sa.String(), nullable=True),
        sa.Column("certificate", sa.String(), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peers")),
        sa.UniqueConstraint("ae_title", name=op.f("uq_peers_ae_title")),
    )
    op.create_table(
        "errands",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("wish", sa.JSON(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("next_step", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_errands")),
    )
    op.create_index("ix_errands_subject_id", "errands", ["subject", "id"])
    op.create_index("ix_errands_open", "errands", ["id"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "bundle_listing",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("revision", _INTEGER, nullable=False),
        sa.Column("bundles", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle_listing")),
    )


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
