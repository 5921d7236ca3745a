"""The part in a training job."""
