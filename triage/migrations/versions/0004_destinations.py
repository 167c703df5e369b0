"""destinations: variants of result objects, and messages beside them

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("result_objects", sa.Column("variant", sa.String(), nullable=False, server_default=""))
    op.add_column("result_objects", sa.Column("identity", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
