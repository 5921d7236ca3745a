"""Models at run time: ONNX sessions by hardware profile, golden cases and the check of a model file."""
