"""The virtual sensor."""
