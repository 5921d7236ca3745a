"""The show of the ECG app: three virtual patients with atrial fibrillation, and a clinician.

A reference application, not a medical device.
"""
