"""The tables: what is known, what is owed, what happened.

Times are UTC. Enumerations are stored as their text. A study's urgency columns and its place ``(tier, due_at)`` are
written together by :mod:`triage.repositories.placing`; nobody else touches them.
"""

from triage.tables.administered import BundleListing, Errand, Peer
from triage.tables.analysed import Analysis, AnalysisImage, Finding, ResultObject
from triage.tables.assessed import Assessment, FindingVerdict, MissedFinding
from triage.tables.delivered import Commitment, Delivery, DeliveryAttempt
from triage.tables.house import AuditEntry, Event, Heartbeat, Installation
from triage.tables.ordered import Order
from triage.tables.people import ApiToken, BrowserSession, User
from triage.tables.personal import SavedView
from triage.tables.received import Association, Instance, Quarantined, Study
from triage.tables.requested import TaskManager, Workitem
from triage.tables.shown import Rendering

__all__ = [
    "Analysis",
    "AnalysisImage",
    "ApiToken",
    "Assessment",
    "Association",
    "AuditEntry",
    "BrowserSession",
    "BundleListing",
    "Commitment",
    "Delivery",
    "DeliveryAttempt",
    "Errand",
    "Event",
    "Finding",
    "FindingVerdict",
    "Heartbeat",
    "Installation",
    "Instance",
    "MissedFinding",
    "Order",
    "Peer",
    "Quarantined",
    "Rendering",
    "ResultObject",
    "SavedView",
    "Study",
    "TaskManager",
    "User",
    "Workitem",
]
