"""Reports over spans of time: rates, intervals, variability, and signal with the patient's consent."""
