"""Building blocks of training: ONNX graphs, lineage, starters. A node never imports this package."""
