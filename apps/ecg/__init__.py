"""ECG: beats, rhythm and alarms from one patient's leads. A reference application, not a medical device."""
