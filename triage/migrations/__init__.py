"""Alembic migrations; run them with ``firstread db upgrade``."""
