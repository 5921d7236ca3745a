"""The retail app: visitors counted by cameras."""
