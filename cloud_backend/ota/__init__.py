"""Updates: the TUF repository that nodes poll, and the rollouts that decide what stands in it."""
