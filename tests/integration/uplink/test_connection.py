"""The connection of an uplink: its status, its end, and the way back."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

from cloud_backend.broker.broker import Broker
from common.connection import Address
from common.edge.delivery.broker_connection import BrokerConnection, WakePipe
from common.edge.delivery.outbox import Outbox
from common.messages import (
    Ack,
)
from common.sealing import TAG_BYTES, name_of
from tests.integration.uplink.ends import SEAL, TOPICS, Cloud, enrolment
from tests.waiting import PATIENCE_S, wait_for


def test_its_status_shows_when_it_comes_changes_and_goes(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: [s.state for s in cloud.statuses()] == ["online"], "it is there")
    running.version = "2"
    running.keep(1)
    wait_for(lambda: cloud.statuses()[-1].version == "2", "the new version")
    running.stop()
    wait_for(lambda: cloud.statuses()[-1].state == "offline", "it is gone")
    assert not running.uplink.connected


def test_the_broker_reports_when_it_vanishes_and_it_comes_back(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.uplink._connection._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for(lambda: "offline" in [s.state for s in cloud.statuses()], "gone")  # Perhaps after it is back.
    wait_for(lambda: cloud.statuses()[-1].state == "online", "back")
    running.keep(3)
    wait_for(cloud.batches, "events over the new connection")
    assert cloud.batches()[0].head.last == 3


def test_a_last_status_over_a_connection_that_has_just_ended_is_no_failure(broker: Broker) -> None:
    with closing(WakePipe()) as wake:
        connection = BrokerConnection(
            enrolment(broker.port),
            Address("127.0.0.1", broker.port),
            SEAL,
            client_id="goodbye",
            tls=None,
            in_flight_batches=1,
            topics=(TOPICS.ack, TOPICS.hint),
            wake=wake,
            on_ready=lambda: None,
            on_message=lambda *_: None,
        )
        connection.open(TOPICS.status, b"")
        wait_for(lambda: connection.wait(0.1) or connection.ready, "a connection")
        client: Any = connection._client
        client.socket().shutdown(socket.SHUT_RDWR)
        connection.deliver(TOPICS.status, b"", PATIENCE_S)
        assert not connection.alive
        connection.close()


def test_a_refused_connection_is_none_and_nothing_is_lost(
    start, cloud: Cloud, broker: Broker, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("this broker lets everybody in")
    running = start(password="wrong")
    running.keep(10)
    wait_for(lambda: caplog.text.count("refuses this node") >= 2, "two refusals")
    assert not running.uplink.connected
    assert outbox.events == 10


def test_a_broker_that_dies_is_met_again(start, broker: Broker, outbox: Outbox) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    port = broker.port
    broker.stop()
    wait_for(lambda: not running.uplink.connected, "it notices")
    running.keep(40)
    broker.start()
    assert broker.port == port
    with closing(Cloud(broker).client) as client:
        wait_for(lambda: any(topic == TOPICS.up for topic, _ in client.received), "events again")


def test_a_node_that_is_limited_waits_and_sends_again(start, cloud: Cloud, outbox: Outbox) -> None:
    running = start()
    running.keep(10)
    wait_for(cloud.batches, "a batch")
    (payload,) = (payload for topic, payload in list(cloud.client.received)[:2] if topic == TOPICS.up)
    cloud.publish(TOPICS.ack, Ack("", 0, limited="00" * TAG_BYTES, retry_after_s=50.0))
    cloud.publish(TOPICS.ack, Ack("", 0, limited=name_of(payload), retry_after_s=0.3))
    wait_for(lambda: running.uplink.traffic.limited == 1, "it is reported")
    wait_for(lambda: cloud.batches()[-1].head.turn > cloud.batches()[0].head.turn, "the same again")
    cloud.ack(outbox.epoch, 10)
    wait_for(lambda: not outbox.events, "all is acked")
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "limited"


def test_connections_that_end_at_once_are_reported_and_waited_for(start, cloud: Cloud) -> None:
    running = start()
    for number in range(1, 4):
        wait_for(lambda number=number: running.uplink.traffic.connections >= number, "a connection")
        wait_for(lambda: running.uplink.connected, "it is up")
        running.uplink._connection._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "short_connections"
