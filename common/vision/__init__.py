"""Vision: from frames to detections, tracks and counts, shared by the camera apps. No I/O."""
