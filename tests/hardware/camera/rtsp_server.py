"""A real RTSP server by GStreamer, for tests; run by the system's Python, which has its bindings.

``python3 rtsp_server.py WIDTH HEIGHT FPS [PORT]`` prints its port and serves ``/live`` until it is ended.
With ``check`` as the only argument it reports whether it could.
"""

from __future__ import annotations

import sys

import gi  # type: ignore[import-not-found]  of the system's Python

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402  as above, after the versions

Gst.init(None)
ELEMENTS = ("videotestsrc", "x264enc", "rtph264pay")
if missing := [name for name in ELEMENTS if not Gst.ElementFactory.find(name)]:
    sys.exit(f"GStreamer lacks {', '.join(missing)}")
if sys.argv[1:] == ["check"]:
    sys.exit(0)
width, height, fps, *port = map(int, sys.argv[1:])
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(str(port[0] if port else 0))
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={fps}/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
