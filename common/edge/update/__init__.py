"""Updates: the TUF client, download, the two slots, trial and adoption of a model."""
