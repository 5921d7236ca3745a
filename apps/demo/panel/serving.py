"""Serves the show's panel on loopback, for as long as the show goes on."""

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
from apps.demo.story.shows import Show
from apps.demo.world.stage import Stage

HOST = "127.0.0.1"
RECONNECT_S = 10.0
"""How long a window may be gone before it starts anew: the machine is busy when a model is trained."""
DRAIN_S = 1
"""How long a window may hold up the end of the show."""


def listen() -> tuple[socket.socket, str]:
    """The panel's socket, on a port that is free, and its origin."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((HOST, 0))
    listener.listen()  # From now on a browser that comes early waits instead of being refused.
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
    say: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, which are handed on, or until ``seconds`` are over (0: no end).

    The presenter chooses among ``shows``.
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
    told: list[str] = []

    def tell(address: str) -> None:
        say(f"the show, for another browser: {address}" if told else f"the show: {address}")
        told.append(address)

    guard = PanelGuard(api, origin, tell)
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
    """Whether a browser could show a window here."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(named) or sys.platform in ("darwin", "win32")
