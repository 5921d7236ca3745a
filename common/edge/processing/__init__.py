"""Processing: the thread that turns readings into committed events, the app's state and its journal."""
