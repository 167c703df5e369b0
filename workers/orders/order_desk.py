"""Where HL7 orders are taken: kept in one commit, and only then acknowledged."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from triage.database import Database
from triage.errors import DatabaseUnavailableError
from triage.logging import get_logger
from triage.order_feeds import Hl7Orders
from triage.priority import Targets
from triage.repositories import orders
from triage.rules import RuleSet
from workers.carriers.mllp_link import AckCode
from workers.messages.hl7 import Message, MessageError
from workers.orders.acknowledging import REQUIRED_FIELD_MISSING, UNSUPPORTED_TYPE, acknowledgement
from workers.orders.feed_log import FeedLog
from workers.orders.hl7_orders import LONGEST_SENDER, OrderRefusedError, read_orders
from workers.orders.mllp_receiver import NotNowError

log = get_logger(__name__)


class OrderDesk:
    """Takes messages one by one, from any thread.

    AA: all orders of the message are kept. AE: the message is wrong, with the field. AR: this kind of message is not
    taken here. No answer, and the connection closed: it could not be kept now; the sender sends it again.
    """

    def __init__(
        self,
        database: Database,
        options: Hl7Orders,
        targets: Targets,
        clock: Callable[[], datetime],
        log: FeedLog | None = None,
        rules: RuleSet = orders.NO_RULES,
    ) -> None:
        self._database, self._options, self._targets, self._clock = database, options, targets, clock
        self._rules = rules
        self._log = log or FeedLog(clock)

    def __call__(self, content: bytes, problem: str) -> bytes:
        """The acknowledgement of a message.

        Raises
        ------
        NotNowError
            None: the database does not answer.
        """
        try:
            message = Message.parse(content)
        except MessageError as error:
            log.warning("hl7_unreadable", problem=str(error))
            return self._refused(None, AckCode.REJECTED, str(error))
        if problem:
            return self._refused(message, AckCode.REJECTED, f"This is {problem}.")
        try:
            placed = read_orders(message, self._options, content)
        except OrderRefusedError as error:
            log.warning("hl7_order_refused", problem=str(error), field=error.field)
            code = AckCode.REJECTED if error.reject else AckCode.ERROR
            condition = UNSUPPORTED_TYPE if error.reject else REQUIRED_FIELD_MISSING
            return self._refused(message, code, error.advice(), error.field, condition)
        try:
            with self._database.write() as session:
                orders.record(session, placed, self._targets, at=self._clock(), rules=self._rules)
        except DatabaseUnavailableError as error:
            log.error("hl7_order_not_kept", advice=error.advice())
            self._log.message_unanswered(error.advice())
            raise NotNowError from error
        unknown = sum(1 for order in placed if order.urgency is None and order.priority)
        log.info("hl7_orders_kept", orders=len(placed), unknown_priorities=unknown)
        self._log.message_kept(len(placed))
        return acknowledgement(message, AckCode.ACCEPTED, at=self._clock(), control_id=_control_id())

    def _refused(
        self, message: Message | None, code: AckCode, text: str, field: str = "", condition: str = ""
    ) -> bytes:
        header = message.first("MSH") if message else None
        sender = "|".join((header.text(3), header.text(4)))[:LONGEST_SENDER] if header else ""
        self._log.message_refused(text, sender)
        return acknowledgement(
            message, code, at=self._clock(), control_id=_control_id(), text=text, field=field, condition=condition
        )


def _control_id() -> str:
    return secrets.token_hex(8).upper()
