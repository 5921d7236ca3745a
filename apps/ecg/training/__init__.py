"""Training: dataset, model, evaluation, and learning from the field."""
