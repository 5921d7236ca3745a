"""What runs in a training job."""
