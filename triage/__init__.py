"""Facts and rules: settings, tables, states, completion, order. The ground the other five packages stand on.

Imports none of ours, and never pynetdicom, highdicom, celery, torch or fastapi.
"""
