"""scale: what cases are searched by, and indexes for a list beside a million read cases

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

from triage.searching import search_text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OPEN = sa.text("reading_status != 'READ'")
_PLACE = ["tier", "due_at", "id"]
_FILTERS = ["search_text", "urgency", "modality", "status", "reading_status", "reader", "calling_ae_title",
            "body_part_examined"]  # fmt: skip
_NEXT = sa.text(
    "SELECT id, patient_id, patient_name, accession_number, study_description FROM studies "
    "WHERE id > :last ORDER BY id LIMIT 10000"
)


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("studies", sa.Column("search_text", sa.String(), nullable=False, server_default=""))
    _fill(connection)
    op.create_index("ix_studies_order", "studies", _PLACE)
    op.create_index("ix_studies_received_at", "studies", ["received_at"])
    op.create_index("ix_studies_open_urgency", "studies", ["urgency"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index("ix_analyses_scored_at", "analyses", ["scored_at"])
    if connection.dialect.name == "sqlite":
        _index_sqlite(connection)
    else:
        _index_postgresql(connection)


def _fill(connection: sa.Connection) -> None:
    last = 0
    while rows := connection.execute(_NEXT, {"last": last}).all():
        texts = [{"row": row, "text": search_text(*said)} for row, *said in rows]
        connection.execute(sa.text("UPDATE studies SET search_text = :text WHERE id = :row"), texts)
        last = rows[-1][0]


def _index_sqlite(connection: sa.Connection) -> None:
    """What the list is filtered by lies in the index that it walks: SQLite then looks at rows only where all hold."""
    op.drop_index("ix_studies_open_order", "studies")
    op.create_index("ix_studies_open_order", "studies", [*_PLACE, *_FILTERS], sqlite_where=_OPEN)
    try:
        with connection.begin_nested():
            op.execute(
                "CREATE VIRTUAL TABLE studies_search USING fts5(search_text, content='studies', content_rowid='id', "
                "tokenize='trigram case_sensitive 1', detail=none, columnsize=0)"
            )
    except sa.exc.OperationalError:
        return  # an SQLite before 3.34: searching among read cases looks at each of them
    op.execute("INSERT INTO studies_search(studies_search) VALUES ('rebuild')")
    add = "INSERT INTO studies_search(rowid, search_text) VALUES (new.id, new.search_text);"
    take = "INSERT INTO studies_search(studies_search, rowid, search_text) VALUES ('delete', old.id, old.search_text);"
    for event, when, steps in (
        ("insert", "AFTER INSERT ON studies", add),
        ("delete", "AFTER DELETE ON studies", take),
        ("update", "AFTER UPDATE OF search_text ON studies WHEN old.search_text != new.search_text", take + add),
    ):
        op.execute(f"CREATE TRIGGER studies_search_{event} {when} BEGIN {steps} END")


def _index_postgresql(connection: sa.Connection) -> None:
    try:
        with connection.begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            op.create_index(
                "ix_studies_search", "studies", ["search_text"], postgresql_using="gin",
                postgresql_ops={"search_text": "gin_trgm_ops"}, postgresql_with={"fastupdate": "off"},
            )  # fmt: skip
    except sa.exc.DBAPIError:
        return  # not installed, not ours to install, or elsewhere: searching looks at each case; docs/operations.md


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
