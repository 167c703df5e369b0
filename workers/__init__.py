"""Where the pieces meet: Celery processes that analyse, deliver and keep house.

The rows of :mod:`triage.tables` say what is owed; a Celery message only says "look now".
"""
