"""The daily report of a patient as PDF."""
