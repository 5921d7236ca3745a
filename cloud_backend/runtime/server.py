"""The cloud's process: assemble the parts, run them, drain on SIGTERM.

Threads: the main one runs the API (uvicorn), ``ingest-receive`` and ``ingest-commit`` bring events in,
``broker-watch`` keeps the broker running, ``periodic-tasks`` has the cloud's other tasks, ``<app>-<task>``
one of an app. On SIGTERM or Ctrl-C the API ends first, then what was received is committed and acked, then
the broker ends.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from cloud_backend.runtime.addresses import unreachable
from cloud_backend.runtime.assembly import build
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.data_folder import DATA_ENTRIES, sole_use
from common import durable
from common.cloud_file import CLOUD_FILE, CloudFile
from common.config.cloud import CloudSettings
from common.logs import Layout, set_up_logging
from common.private import close_folder, restrict_new_files

_log = structlog.get_logger("edgeloop.cloud")
DRAIN_S = 10
"""Time for requests in progress at the end."""
SOCKET_MESSAGE_BYTES = 1024 * 1024
"""Largest message of a dashboard page to the cloud."""


def run_cloud(settings: CloudSettings) -> int:
    """Run a cloud until SIGTERM or SIGINT; the exit status.

    Raises `StoreError`, `BrokerError`, `ConfigError` or `RegistryError` where it cannot start.
    """
    restrict_new_files()
    set_up_logging(Layout.LOGFMT, libraries=logging.WARNING)
    stop = _StopSignals()
    with ExitStack() as stack:
        try:
            stop.listen()
            folder = Path(settings.data).resolve()
            close_folder(folder, DATA_ENTRIES)
            stack.enter_context(sole_use(folder))
            (folder / CLOUD_FILE).unlink(missing_ok=True)
            cloud, listener = build(settings, folder, stack)
            server = _prepare(cloud, stack)
            server.should_exit = stop.requested
            server.run(sockets=[listener])
        except _Stopped:
            pass  # while starting; or uvicorn raises again, at its end, the signal that ended it
        stop.ignore()
        _log.info("draining")
    _log.info("stopped")
    return 0


def _prepare(cloud: Cloud, stack: ExitStack) -> _Server:
    """The server of the API, which runs the background work too until a signal ends it."""
    from cloud_backend.api.application import create_api
    from cloud_backend.dashboard import mount
    from cloud_backend.runtime.background import cloud_workers
    from cloud_backend.runtime.connections import (
        RESERVED_FILES,
        ConnectionLimits,
        bounded_protocol,
        networks,
        raise_file_limit,
    )

    def announce() -> None:
        file = CloudFile(
            http_url=cloud.http_url,
            mqtt_host=cloud.mqtt_host,
            mqtt_port=cloud.mqtt_port,
            broker_kind=cloud.broker.kind,
            broker_pid=cloud.broker.pid or 0,
            pid=os.getpid(),
        )
        durable.write(cloud.folder / CLOUD_FILE, msgspec.json.encode(file))

    def ready() -> None:
        announce()
        changed = changed_settings(cloud.settings, CloudSettings())
        cloud.access.audit.record(f"os:{os.geteuid()}", "start the cloud", details=changed)
        stack.callback((cloud.folder / CLOUD_FILE).unlink, missing_ok=True)
        for each in workers:
            each.start()
        sys.stdout.write(
            f"edgeloop cloud is ready: {cloud.http_url}, broker {cloud.broker.kind} at "
            f"{cloud.mqtt_host}:{cloud.mqtt_port}, the token is in {cloud.access.admin_token_file}\n"
        )
        if wrong := unreachable(settings, cloud.http_url, cloud.mqtt_host):
            _log.warning(f"{wrong}; nodes cannot be enrolled until then (`edgeloop cloud settings`)")
        if password := cloud.access.passwords.make():
            sys.stdout.write(f"the dashboard's password, printed this once: {password}\n")
        sys.stdout.flush()

    settings = cloud.settings
    workers = cloud_workers(cloud, announce)
    for each in workers:
        stack.callback(each.stop)
    api = create_api(cloud)
    mount(api, cloud.apps)
    http = settings.http
    files = raise_file_limit()
    limits = ConnectionLimits(
        connections=max(1, min(http.connections, files - RESERVED_FILES)),
        per_address=http.connections_per_address,
        request_timeout_s=http.request_timeout_s,
        proxies=networks(http.forwarded_allow_ips),
    )
    config = uvicorn.Config(
        api,
        http=bounded_protocol(limits),
        proxy_headers=bool(http.forwarded_allow_ips),
        forwarded_allow_ips=http.forwarded_allow_ips,
        ws_max_size=SOCKET_MESSAGE_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    gc.collect()
    gc.freeze()  # objects of the start stay: no collection needs to visit them
    return _Server(config, ready)


def changed_settings(settings: msgspec.Struct, defaults: msgspec.Struct) -> dict[str, Any]:
    """The settings that are not the defaults, for the audit trail; of a database only its kind."""
    found: dict[str, Any] = {}
    for name in settings.__struct_fields__:
        value, default = getattr(settings, name), getattr(defaults, name)
        if isinstance(value, msgspec.Struct):
            inner = changed_settings(value, default)
            found |= {f"{name}.{each}": what for each, what in inner.items()}
        elif value != default:
            found[name] = str(value).partition(":")[0] if name == "database" else value
    return found


class _Server(uvicorn.Server):
    """A uvicorn server with a readiness callback."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


class _Stopped(BaseException):
    """A signal to stop before the API was running."""


class _StopSignals:
    """SIGTERM and SIGINT outside uvicorn's own handling: they end a start, and do not interrupt a drain."""

    def __init__(self) -> None:
        self.requested = False
        """Whether one came: where it came in a finalizer, Python drops what the handler raises."""
        self._ignoring = False

    def listen(self) -> None:
        """Raise `_Stopped` at a signal from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def ignore(self) -> None:
        """Ignore signals from here on: the process is ending."""
        self._ignoring = True

    def _stop(self, _number: int, _frame: object) -> None:
        if not self._ignoring:
            self.requested = True
            raise _Stopped
