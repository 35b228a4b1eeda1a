"""Converters of public adaptation pairs: from the folders that their owners distribute to two nnU-Net datasets."""
