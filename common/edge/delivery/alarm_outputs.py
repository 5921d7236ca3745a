"""Outputs of local alarms: a log line, a webhook, a program, a topic of a local broker."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.config.node import LocalAlarmSettings
from common.edge.delivery.local_alarms import Alarm, Output
from common.errors import ConfigError, LocalAlarmError

log = logging.getLogger(__name__)


class LogLine:
    """A log line (WARNING) with state, subject and text."""

    name = "log"

    def send(self, message: bytes, alarm: Alarm) -> None:  # noqa: ARG002
        virtual = "virtual " if alarm.virtual else ""
        log.warning("%salarm %s: %s: %s: %s", virtual, alarm.state, alarm.subject, alarm.type, alarm.text)


class Webhook:
    """An HTTP POST of the JSON. Any answer but 2xx is a failure."""

    name = "webhook"

    def __init__(self, url: str, timeout_s: float) -> None:
        import urllib3

        self._url = url
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=timeout_s),
            retries=False,
            headers={"Content-Type": "application/json"},
        )

    def send(self, message: bytes, alarm: Alarm) -> None:  # noqa: ARG002
        import urllib3

        try:
            answer = self._http.request(
                "POST", self._url, body=message, redirect=False, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise LocalAlarmError(f"{self._where} does not answer: {type(error).__name__}") from error
        answer.close()
        if not 200 <= answer.status < 300:
            raise LocalAlarmError(f"{self._where} answers {answer.status}")


class Program:
    """A program with its arguments, without a shell; the JSON on its standard input. It must exit with 0."""

    name = "command"

    def __init__(self, command: list[str], timeout_s: float) -> None:
        self._command = command
        self._timeout_s = timeout_s

    def send(self, message: bytes, alarm: Alarm) -> None:  # noqa: ARG002
        try:
            child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise LocalAlarmError(f"{self._command[0]} cannot be started: {error}") from error
        with child:
            try:
                child.communicate(message + b"\n", self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                raise LocalAlarmError(
                    f"{self._command[0]} ran longer than {self._timeout_s:g} s and was killed"
                ) from None
        if child.returncode:
            raise LocalAlarmError(f"{self._command[0]} exited with {child.returncode}")


class Topic:
    """A message to a topic of a broker (QoS 1); one connection for each, for alarms are rare."""

    name = "mqtt"

    def __init__(self, settings: LocalAlarmSettings) -> None:
        self._settings = settings
        self._where = f"{settings.mqtt_host}:{settings.mqtt_port}"
        self._password = None
        if settings.mqtt_password_file:
            try:
                self._password = Path(settings.mqtt_password_file).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"local_alarms.mqtt_password_file cannot be read: {error}") from error

    def send(self, message: bytes, alarm: Alarm) -> None:  # noqa: ARG002
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        settings = self._settings
        answered = threading.Event()
        refused: list[str] = []

        def connected(_client: Any, _user: Any, _flags: Any, code: Any, _properties: Any) -> None:
            if code.is_failure:
                refused.append(str(code))
            answered.set()

        def closed(*_: Any) -> None:
            answered.set()

        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = settings.timeout_s
        client.on_connect = connected
        client.on_disconnect = closed
        if settings.mqtt_user:
            client.username_pw_set(settings.mqtt_user, self._password)
        try:
            client.connect(settings.mqtt_host, settings.mqtt_port)
            client.loop_start()
            if not answered.wait(settings.timeout_s) or refused or not client.is_connected():
                raise LocalAlarmError(f"{self._where} refuses: {refused[0] if refused else 'no answer'}")
            sent = client.publish(settings.mqtt_topic, message, qos=1)
            sent.wait_for_publish(settings.timeout_s)
            if not sent.is_published():
                raise LocalAlarmError(f"{self._where} does not acknowledge {settings.mqtt_topic}")
        except (OSError, ValueError, RuntimeError) as error:
            raise LocalAlarmError(f"{self._where} cannot be reached: {error}") from error
        finally:
            client.disconnect()
            client.loop_stop()


def outputs_of(settings: LocalAlarmSettings) -> list[Output]:
    """The outputs that the settings name. Raises `ConfigError`."""
    outputs: list[Output] = []
    if settings.log:
        outputs.append(LogLine())
    if settings.webhook:
        outputs.append(Webhook(settings.webhook, settings.timeout_s))
    if settings.command:
        outputs.append(Program(settings.command, settings.timeout_s))
    if settings.mqtt_host:
        outputs.append(Topic(settings))
    return outputs
