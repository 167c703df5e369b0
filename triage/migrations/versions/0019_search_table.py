"""what cases are found by has a table of its own on PostgreSQL: a step of a case no longer touches the index of texts

A step changes the case's place in the order, so that PostgreSQL adds a new version of the row to every index of the
table; fifty pieces of a text are fifty entries, and after a checkpoint as many whole pages in the log.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_FOLLOW = """
CREATE FUNCTION follow_studies_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE studies_search;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM studies_search WHERE id = OLD.id;
    ELSE  -- whatever stands there, no case is refused for it
        INSERT INTO studies_search (id, is_open, search_text)
            VALUES (NEW.id, NEW.reading_status <> 'READ', NEW.search_text)
            ON CONFLICT (id) DO UPDATE SET is_open = EXCLUDED.is_open, search_text = EXCLUDED.search_text;
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # SQLite writes to the indexes whose columns have changed; studies_search is there since 0013
    op.drop_index("ix_studies_order", "studies")
    op.create_index("ix_studies_order", "studies", ["tier", "due_at", "id"])  # a text leads no walk here
    op.create_table(
        "studies_search",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
    )
    op.execute("INSERT INTO studies_search SELECT id, reading_status <> 'READ', search_text FROM studies")
    if op.get_bind().scalar(sa.text("SELECT to_regclass('ix_studies_search')")):  # with pg_trgm: 0013
        op.drop_index("ix_studies_search", "studies")
        for name, those in (("ix_studies_search", None), ("ix_studies_search_open", sa.text("is_open"))):
            op.create_index(
                name, "studies_search", ["search_text"], postgresql_using="gin", postgresql_where=those,
                postgresql_ops={"search_text": "gin_trgm_ops"}, postgresql_with={"fastupdate": "off"},
            )  # fmt: skip
    op.execute(_FOLLOW)
    for event, when in (
        ("insert", "AFTER INSERT OR DELETE ON studies FOR EACH ROW"),
        ("truncate", "AFTER TRUNCATE ON studies"),
        (
            "update",
            "AFTER UPDATE OF search_text, reading_status ON studies FOR EACH ROW WHEN (OLD.search_text <> "
            "NEW.search_text OR (OLD.reading_status = 'READ') <> (NEW.reading_status = 'READ'))",
        ),
    ):
        op.execute(f"CREATE TRIGGER studies_search_{event} {when} EXECUTE FUNCTION follow_studies_search()")
    op.execute("ANALYZE studies_search")


def downgrade() -> None:
    raise NotImplementedError("Restore the backup that was made before the upgrade.")
