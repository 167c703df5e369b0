"""result objects by when their file was last read, for the check that goes round them every half minute

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_result_objects_checked_at", "result_objects", ["checked_at"])


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
