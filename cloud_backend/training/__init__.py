"""Training: samples and labels in, a judged candidate in the registry out.

The package imports nothing: the worker needs no database, and starts without its libraries.
"""
