"""Training of the ECG app: dataset, model, evaluation, and corrections from field labels."""
