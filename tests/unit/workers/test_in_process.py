"""The doorbell transport: a message wakes its waiting consumer at once, and none is lost."""

from __future__ import annotations

import socket
import threading

import pytest
from celery import Celery
from kombu import Connection

from workers.in_process import Channel, end, register


def test_a_message_wakes_the_consumer_that_waits_for_it() -> None:
    received: list[object] = []
    waiting = threading.Event()

    def consume() -> None:
        with Connection(register()) as connection, connection.SimpleQueue("doorbell") as queue:
            waiting.set()
            received.append(queue.get(timeout=30).payload)

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert waiting.wait(10)
    with Connection(register()) as connection, connection.SimpleQueue("doorbell") as queue:
        queue.put({"look": "now"})
    consumer.join(timeout=10)
    assert received == [{"look": "now"}]


def test_every_message_of_many_senders_arrives() -> None:
    count, senders = 200, 4

    def send(first: int) -> None:
        with Connection(register()) as connection, connection.SimpleQueue("many") as queue:
            for number in range(first, first + count):
                queue.put(number)

    threads = [threading.Thread(target=send, args=(n * count,)) for n in range(senders)]
    for thread in threads:
        thread.start()
    with Connection(register()) as connection, connection.SimpleQueue("many") as queue:
        received = sorted(queue.get(timeout=30).payload for _ in range(count * senders))
    assert received == list(range(count * senders))


def test_waiting_ends_when_nothing_comes() -> None:
    with Connection(register()) as connection:
        connection.connect()
        with pytest.raises((socket.timeout, TimeoutError)):
            connection.drain_events(timeout=0.05)


def test_who_waits_goes_on_when_the_worker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "ending", threading.Event())
    ended: list[type[BaseException]] = []

    def wait() -> None:
        with Connection(register()) as connection, pytest.raises(TimeoutError) as raised:
            connection.connect()
            waiting.set()
            connection.drain_events(timeout=60)
        ended.append(raised.type)

    waiting = threading.Event()
    consumer = threading.Thread(target=wait)
    consumer.start()
    assert waiting.wait(10)
    end()
    consumer.join(timeout=10)
    assert ended == [TimeoutError]
    with Connection(register()) as connection:
        connection.connect()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=60)


def test_celery_takes_the_transport_by_its_url() -> None:
    app = Celery("test", broker=register(), set_as_current=False)
    assert app.connection_for_write().transport.__class__.__module__ == "workers.in_process"
