"""Streaming analysis of one patient's ECG, with numpy, scipy and onnxruntime only.

Every part takes chunks of any length and gives the same results, bit for bit, however the signal was cut:
filters carry their state from sample to sample, and decisions are keyed to sample numbers, never to the
edges of chunks. State is bounded; ``snapshot`` and ``restore`` pass it as plain dicts of numbers and arrays.
"""
