"""One file a device: how to recognise it, and which runtime, precision and limits it wants."""
