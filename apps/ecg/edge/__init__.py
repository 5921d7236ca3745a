"""Decisions at the patient: signal quality, beats, rhythm, intervals and alarms."""
