"""The show of the retail app: three virtual cameras of two stores, and dense fog."""
