"""The best of several trained models for the target, without its labels."""
