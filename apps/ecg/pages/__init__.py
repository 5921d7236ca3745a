"""Dashboard pages of the ECG app."""
