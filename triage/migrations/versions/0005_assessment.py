"""assessment: the side of a finding, verdicts on findings, assessments

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DUE = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("findings", sa.Column("laterality", sa.String(length=32), nullable=True))
    op.create_table(
        "verdicts",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("finding_id", _INTEGER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("opinion", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("comment", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], name=op.f("fk_verdicts_finding_id_findings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_finding_id"), "verdicts", ["finding_id"])
    op.create_table(
        "assessments",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("analysis_id", _INTEGER, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=True),
        sa.Column("attempts", _INTEGER, nullable=False),
        sa.Column("documents", _INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_assessments_analysis_id_analyses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessments")),
        sa.UniqueConstraint("analysis_id", "who", name=op.f("uq_assessments_analysis_id_who")),
    )
    op.create_index(op.f("ix_assessments_analysis_id"), "assessments", ["analysis_id"])
    op.create_index("ix_assessments_due", "assessments", ["due_at"], sqlite_where=_DUE, postgresql_where=_DUE)


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
