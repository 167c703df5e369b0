"""Alembic's environment: runs on the connection that :meth:`triage.database.Database.migrate` hands over."""

from alembic import context

import triage.tables  # noqa: F401 - fills the metadata
from triage.columns import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=False)
with context.begin_transaction():
    context.run_migrations()
