"""custody: proof of deliveries, storage commitment, quarantine, care of stored files

Revision ID: 0002
Revises: 0001

Columns are added in place: SQLite's way to alter a table by copying it would drop a table that others refer to.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("status = 'REQUESTED'")
_CARE = ("instances", "result_objects")


def upgrade() -> None:
    op.create_table(
        "commitments",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("transaction_uid", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("answered_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitments")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitments_transaction_uid")),
    )
    op.create_index("ix_commitments_open", "commitments", ["requested_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "quarantined",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("dicom_status", _INTEGER, nullable=False),
        sa.Column("relative_path", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", _INTEGER, nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("peer_address", sa.String(), nullable=False),
        sa.Column("association_uid", sa.String(), nullable=False),
        sa.Column("dismissed_at", sa.DateTime(), nullable=True),
        sa.Column("dismissed_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined")),
        sa.UniqueConstraint("relative_path", name=op.f("uq_quarantined_relative_path")),
    )
    op.add_column("deliveries", sa.Column("proof", sa.String(length=32), nullable=True))
    op.add_column("deliveries", sa.Column("proven_at", sa.DateTime(), nullable=True))
    op.add_column("deliveries", sa.Column("note", sa.String(), nullable=False, server_default=""))
    number = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(
        f"ALTER TABLE deliveries ADD COLUMN commitment_id {number}"
        " CONSTRAINT fk_deliveries_commitment_id_commitments REFERENCES commitments (id)"
    )
    op.create_index(op.f("ix_deliveries_commitment_id"), "deliveries", ["commitment_id"])
    for table in _CARE:
        op.add_column(table, sa.Column("checked_at", sa.DateTime(), nullable=True))
        op.add_column(table, sa.Column("damage", sa.String(), nullable=False, server_default=""))
        op.add_column(table, sa.Column("removed_at", sa.DateTime(), nullable=True))
    op.execute("ALTER TABLE instances RENAME COLUMN sha256 TO digest")
    op.create_index("ix_instances_checked_at", "instances", ["checked_at"])
    op.create_index("ix_instances_series", "instances", ["series_instance_uid", "study_id"])
    still_open = sa.text("closed_at IS NULL")
    op.create_index(
        "ix_associations_open", "associations", ["id"], sqlite_where=still_open, postgresql_where=still_open
    )
    # What was sent before this revision is known to have been answered with Success or Warning.
    op.execute("UPDATE deliveries SET proof = 'ANSWERED', proven_at = sent_at WHERE status = 'SENT'")


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
