"""Start a broker such that it cannot outlive its parent: ``python -m cloud_backend.broker.launch``.

Arguments: the parent's pid, then ``exec PROGRAM ARGUMENT...`` or ``iotcore HOST PORT PAYLOAD_BYTES
CONNECTIONS``. The limit of open files is raised to its hard limit. On Linux the kernel ends this process when
the thread that started it dies, however it dies. Elsewhere only a regular stop ends it, and the next start of
the cloud clears away what is left.
"""

from __future__ import annotations

import os
import sys

FILES_LIMIT = 1_000_000
"""Number of files for a hard limit of infinity."""
CONNECT_TIMEOUT_MS = 10_000
"""Time for a client to send CONNECT."""


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def raise_file_limit() -> int:
    """Let this process open as many files as the system lets it; the number."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_LIMIT if hard == resource.RLIM_INFINITY else min(hard, FILES_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _run_iotcore(host: str, port: str, payload_bytes: str, connections: str) -> None:
    import logging

    from iotcore import IotCoreBroker

    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)  # it reports every packet as an error
    IotCoreBroker(
        listen=host,
        port=int(port),
        max_payload_size=int(payload_bytes),
        max_inflight_count=200,
        max_connections=int(connections),
        connection_timeout_ms=CONNECT_TIMEOUT_MS,
    ).run_forever()


def main() -> None:
    parent, kind, *arguments = sys.argv[1:]
    _die_with_parent(int(parent))
    raise_file_limit()
    if kind == "exec":
        os.execv(arguments[0], arguments)  # noqa: S606  the program and its arguments come from our parent
    _run_iotcore(*arguments)


if __name__ == "__main__":
    main()
