"""Contracts of edge and cloud, and all the edge plumbing. Imports no other room."""

import os

# Libraries report to their makers by default, and read at their import that they must not. ONNX Runtime (from
# 1.29 on) also keeps an identifier of the device in the home, and waits for answers when a process ends.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("NNCF_CI", "true")
os.environ.setdefault("YOLO_OFFLINE", "true")
