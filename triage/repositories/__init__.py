"""Every query of the house, grouped by who asks: intake, analyses, deliveries, worklist.

Functions take a session and never commit: the door that opened the session does, at its end.
"""
