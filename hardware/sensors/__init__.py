"""Sources for real sensors and recordings, by URI scheme (entry point group ``edgeloop.sources``)."""
