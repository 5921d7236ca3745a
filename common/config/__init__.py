"""Settings: one typed, frozen tree from TOML and the environment, for the node and for the cloud."""
