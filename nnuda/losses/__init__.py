"""Losses: one equation family a file, pure functions of tensors, usable without any trainer."""
