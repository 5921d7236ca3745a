"""What the training of every app needs: ONNX graphs, lineage, starters. A node never imports this package."""
