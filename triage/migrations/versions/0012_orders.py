"""orders: what other systems say of the urgency of examinations, beside what images carry

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("patient_ids", sa.JSON(), nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("urgency", sa.String(length=32)),
        sa.Column("cancelled_at", sa.DateTime()),
        sa.Column("control_id", sa.String(), nullable=False),
        sa.Column("digests", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("source", "sender", "number", name="uq_orders_source_sender_number"),
    )
    op.create_index("ix_orders_accession_number", "orders", ["accession_number"])
    op.create_index("ix_orders_changed_at", "orders", ["changed_at"])
    op.add_column("studies", sa.Column("header_urgency", sa.String(length=32)))
    op.execute("UPDATE studies SET header_urgency = order_urgency WHERE order_urgency IS NOT NULL")


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
