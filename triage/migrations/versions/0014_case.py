"""case: renderings for the page, heat maps of single findings, what a bundle cannot do, findings that the AI missed

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ASKED = sa.text("status = 'ASKED'")


def upgrade() -> None:
    op.add_column("analyses", sa.Column("limits", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("analyses", sa.Column("calibration", sa.String(), nullable=False, server_default=""))
    op.add_column("findings", sa.Column("heat_path", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "renderings",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("instance_id", _INTEGER, nullable=False),
        sa.Column("frame", _INTEGER, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("place", _INTEGER, nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("attempts", _INTEGER, nullable=False),
        sa.Column("relative_path", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instances.id"], name=op.f("fk_renderings_instance_id_instances")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renderings")),
        sa.UniqueConstraint("instance_id", "frame", name=op.f("uq_renderings_instance_id_frame")),
    )
    op.create_index(op.f("ix_renderings_instance_id"), "renderings", ["instance_id"])
    op.create_index("ix_renderings_asked_at", "renderings", ["asked_at"])
    op.create_index(
        "ix_renderings_asked", "renderings", ["place", "not_before"], sqlite_where=_ASKED, postgresql_where=_ASKED
    )
    op.create_table(
        "missed_findings",
        sa.Column("id", _INTEGER, nullable=False),
        sa.Column("study_id", _INTEGER, nullable=False),
        sa.Column("analysis_id", _INTEGER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("code_value", sa.String(), nullable=False),
        sa.Column("code_scheme", sa.String(), nullable=False),
        sa.Column("code_meaning", sa.String(), nullable=False),
        sa.Column("laterality", sa.String(length=32), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=True),
        sa.Column("withdrawn_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_missed_findings_analysis_id_analyses")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_missed_findings_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_missed_findings")),
    )
    op.create_index(op.f("ix_missed_findings_analysis_id"), "missed_findings", ["analysis_id"])
    op.create_index(op.f("ix_missed_findings_study_id"), "missed_findings", ["study_id"])


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
