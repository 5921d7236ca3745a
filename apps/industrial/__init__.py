"""Industrial condition monitoring: remaining useful life of turbofan engines."""
