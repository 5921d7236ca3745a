"""Inference: one app with its model as the node runs it, and the live model beside its companion."""
