"""Start a broker such that it cannot outlive its parent: ``python -m cloud_backend.broker.launch``.

Arguments: the parent's pid, then ``exec PROGRAM ARGUMENT...`` or ``iotcore HOST PORT PAYLOAD_BYTES``.
On Linux the kernel ends this process when the thread that started it dies, however it dies. Elsewhere
only a regular stop ends it, and the next start of the cloud clears away what is left.
"""

from __future__ import annotations

import os
import sys


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def _run_iotcore(host: str, port: str, payload_bytes: str) -> None:
    import logging

    from iotcore import IotCoreBroker

    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)  # it reports every packet as an error
    IotCoreBroker(
        listen=host, port=int(port), max_payload_size=int(payload_bytes), max_inflight_count=200
    ).run_forever()


def main() -> None:
    parent, kind, *arguments = sys.argv[1:]
    _die_with_parent(int(parent))
    if kind == "exec":
        os.execv(arguments[0], arguments)  # noqa: S606  the program and its arguments come from our parent
    _run_iotcore(*arguments)


if __name__ == "__main__":
    main()
