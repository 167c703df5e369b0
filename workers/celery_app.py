"""The Celery application: settings proven against the traps of docs/decisions.md, made at the entry point."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange
from kombu import Queue as KombuQueue

from triage.settings import Settings
from workers import in_process
from workers.names import Queue, Task


def create_celery(settings: Settings) -> Any:
    """A Celery application for this configuration, without tasks.

    No result backend, no late acknowledgement, no ETA: the database knows what is owed, and a lost message is rung
    again by the bell.
    """
    app = Celery("firstread", broker=settings.broker_url or in_process.register(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_queues=[KombuQueue(queue, Exchange(queue), routing_key=queue) for queue in Queue],
        task_default_queue=Queue.ANALYSIS,
        task_routes={
            Task.ANALYSE: {"queue": Queue.ANALYSIS},
            Task.ASSESS: {"queue": Queue.ANALYSIS},  # where the code tables for reports are loaded already
            Task.DELIVER: {"queue": Queue.DELIVERY},
            Task.PROVE: {"queue": Queue.DELIVERY},
            Task.COMPLETE: {"queue": Queue.HOUSEKEEPING},
            Task.RENDER: {"queue": Queue.HOUSEKEEPING},  # its threads are free when analyses are not
            Task.SWEEP: {"queue": Queue.HOUSEKEEPING},
            Task.RETAIN: {"queue": Queue.HOUSEKEEPING},
            Task.SCRUB: {"queue": Queue.HOUSEKEEPING},
            Task.PERFORM: {"queue": Queue.DELIVERY},
            Task.ERRAND: {"queue": Queue.DELIVERY},  # most of them ask somebody on the network
        },
        # No limit: an acknowledgement that a frozen Redis never got counts as an open message for ever, and a worker
        # with as many of them as its limit hears nothing again. Rings weigh nothing and grow stale in seconds.
        worker_prefetch_multiplier=0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=20.0,
        worker_proc_alive_timeout=60.0,
        worker_max_tasks_per_child=None,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(settings),
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.embedded:
        return {}
    # A frozen Redis must not freeze us: every call to it is bounded.
    return {
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "visibility_timeout": 3600,
    }
