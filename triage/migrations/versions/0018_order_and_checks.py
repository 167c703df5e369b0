"""result objects by when their file was last read; the order of all studies with the text they are found by

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
    op.drop_index("ix_studies_order", "studies")
    op.create_index("ix_studies_order", "studies", ["tier", "due_at", "id", "search_text"])


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
