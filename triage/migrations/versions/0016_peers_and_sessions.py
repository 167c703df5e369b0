"""peers added at run time: which services each may use; sessions: from where and with which browser

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Who was admitted before might ask for everything, and goes on to.
    everything = '["store", "find", "worklist"]'
    op.add_column("peers", sa.Column("services", sa.JSON(), nullable=False, server_default=everything))
    op.add_column("browser_sessions", sa.Column("address", sa.String(), nullable=False, server_default=""))
    op.add_column("browser_sessions", sa.Column("browser", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
