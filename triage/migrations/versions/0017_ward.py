"""ward: where patients are, what is positive in the rows that the list walks, indexes that answer the statistics

Revision ID: 0017
Revises: 0016
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from triage.searching import positives_text

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_OPEN = sa.text("reading_status != 'READ'")
_SOME = sa.text("positives != ''")
_PLACE = ["tier", "due_at", "id"]
_FILTERS = ["search_text", "urgency", "modality", "status", "reading_status", "reader", "calling_ae_title",
            "body_part_examined", "ward", "order_ward", "positives"]  # fmt: skip
_FIGURES = ["received_at", "urgency", "reading_status", "read_at", "due_at", "claimed_at", "modality",
            "calling_ae_title"]  # fmt: skip
_POSITIVE = sa.text(
    "SELECT a.study_id, f.key, f.code_meaning FROM findings f "
    "JOIN analysis_images i ON i.id = f.image_id JOIN analyses a ON a.id = i.analysis_id "
    "WHERE f.positive AND a.scored_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM analyses later "
    "WHERE later.study_id = a.study_id AND later.revision > a.revision AND later.scored_at IS NOT NULL) "
    "GROUP BY a.study_id, f.key, f.code_meaning ORDER BY a.study_id, f.key, f.code_meaning"
)


def upgrade() -> None:
    connection = op.get_bind()
    for table, column in (("studies", "ward"), ("studies", "order_ward"), ("studies", "positives"), ("orders", "ward")):
        op.add_column(table, sa.Column(column, sa.String(), nullable=False, server_default=""))
    rows = [{"row": study, "text": text} for study, text in _positives(connection)]
    if rows:
        connection.execute(sa.text("UPDATE studies SET positives = :text WHERE id = :row"), rows)
    op.create_index(
        "ix_studies_positives", "studies", [*_PLACE, "positives"], sqlite_where=_SOME, postgresql_where=_SOME
    )
    for table, index, columns in (
        ("studies", "ix_studies_received_at", _FIGURES),
        ("analyses", "ix_analyses_study_id", ["study_id", "scored_at"]),
    ):
        op.drop_index(index, table)
        op.create_index(index, table, columns)
    if connection.dialect.name == "sqlite":  # as 0013 made it, with what the list is filtered by since
        op.drop_index("ix_studies_open_order", "studies")
        op.create_index("ix_studies_open_order", "studies", [*_PLACE, *_FILTERS], sqlite_where=_OPEN)


def _positives(connection: sa.Connection) -> Iterator[tuple[int, str]]:
    """(study, text) of the studies with something positive in the findings that are shown."""
    said: dict[int, list[tuple[str, str]]] = {}
    for study, key, meaning in connection.execute(_POSITIVE):
        said.setdefault(study, []).append((key, meaning))
    return ((study, positives_text(findings)) for study, findings in said.items())


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
