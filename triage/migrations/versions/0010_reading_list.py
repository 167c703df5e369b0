"""reading list: claims run out, views are saved

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("studies", sa.Column("claim_seen_at", sa.DateTime(), nullable=True))
    op.execute("UPDATE studies SET claim_seen_at = claimed_at WHERE reading_status = 'CLAIMED'")
    claimed = sa.text("reading_status = 'CLAIMED'")
    op.create_index("ix_studies_claimed", "studies", ["claim_seen_at"], sqlite_where=claimed, postgresql_where=claimed)
    op.create_table(
        "saved_views",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_views")),
        sa.UniqueConstraint("who", "name", name=op.f("uq_saved_views_who_name")),
    )


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
