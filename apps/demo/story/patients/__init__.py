"""The show of the ECG app: three virtual patients whose hearts begin to fibrillate, and a clinician.

A reference application, not a medical device.
"""
