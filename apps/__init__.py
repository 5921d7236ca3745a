"""The applications, and the show that drives them."""
