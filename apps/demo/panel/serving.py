"""Server of the panel, on loopback."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from apps.demo.panel.guard import PanelGuard
from apps.demo.panel.panel import add_page
from apps.demo.story.player import Player
from apps.demo.world.shows import Show
from apps.demo.world.stage import Stage

HOST = "127.0.0.1"
RECONNECT_S = 10.0
"""Time within which a window may reconnect without a reload; training keeps the machine busy."""
DRAIN_S = 1
"""Time limit for open requests at the end of the show."""


def listen() -> tuple[socket.socket, str]:
    """A listening socket on a free port, and its origin."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((HOST, 0))
    listener.listen()  # An early browser waits instead of being refused.
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def serve(
    stage: Stage,
    player: Player,
    shows: Sequence[Show],
    listener: socket.socket,
    origin: str,
    *,
    seconds: float,
    browser: bool,
    write: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, which are re-raised, or for ``seconds`` (0: no limit).

    ``write`` receives the address for each next browser; the presenter can switch between ``shows``.
    """
    api = FastAPI(openapi_url=None)
    add_page(stage, player, shows)
    ui.run_with(
        api,
        mount_path="/",
        title="edgeloop: the show",
        language="en-US",
        favicon="🔁",
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
    )
    announced: list[str] = []

    def announce(address: str) -> None:
        write(f"the show, for another browser: {address}" if announced else f"the show: {address}")
        announced.append(address)

    guard = PanelGuard(api, origin, announce)
    config = uvicorn.Config(
        guard, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_S
    )
    server = uvicorn.Server(config)
    end = threading.Timer(seconds, lambda: setattr(server, "should_exit", True))
    end.daemon = True
    if seconds:
        end.start()
    if browser and has_display():
        threading.Thread(target=webbrowser.open, args=[guard.address], daemon=True).start()
    try:
        server.run(sockets=[listener])
    finally:
        end.cancel()


def has_display() -> bool:
    """Whether this machine has a graphical display."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(display) or sys.platform in ("darwin", "win32")
