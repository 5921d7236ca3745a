"""The show of the industrial app: three virtual turbofans with new wear faults."""
