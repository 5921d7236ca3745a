"""Cameras and recordings of them as sources of frames, by OpenCV and its FFmpeg (extra ``vision``).

A reading is a frame (height, width, 3) uint8 in BGR; its subject is the camera's name.
"""
