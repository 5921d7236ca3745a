"""The template app: the smallest app that goes once round the whole loop; `edgeloop new-app` copies it."""
