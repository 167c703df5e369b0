"""site rules: why a rule asks for its class, and which rules the open cases were judged by

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("rule_reason", sa.String(), nullable=False, server_default=""))
    op.add_column("installation", sa.Column("rules_digest", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
