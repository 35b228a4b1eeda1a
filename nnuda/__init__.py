"""Unsupervised domain adaptation inside an unmodified nnU-Net v2."""

__version__ = "0.1.0"
