"""workitems: what task managers have scheduled for us

Revision ID: 0007
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("status IN ('FOUND', 'CLAIMED')")


def upgrade() -> None:
    op.create_table(
        "task_managers",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("look_at", sa.DateTime(), nullable=False),
        sa.Column("answered_at", sa.DateTime(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("failures", _INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_task_managers")),
    )
    op.create_table(
        "workitems",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("manager", sa.String(), nullable=False),
        sa.Column("workitem_uid", sa.String(), nullable=False),
        sa.Column("transaction_uid", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("study_instance_uids", sa.JSON(), nullable=False),
        sa.Column("study_id", _INTEGER, nullable=True),
        sa.Column("progress", _INTEGER, nullable=False),
        sa.Column("look_at", sa.DateTime(), nullable=False),
        sa.Column("failures", _INTEGER, nullable=False),
        sa.Column("found_at", sa.DateTime(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_workitems_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workitems")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_workitems_transaction_uid")),
        sa.UniqueConstraint("manager", "workitem_uid", name=op.f("uq_workitems_manager_workitem_uid")),
    )
    op.create_index(
        "ix_workitems_open", "workitems", ["manager", "look_at"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_index(op.f("ix_workitems_study_id"), "workitems", ["study_id"])


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
