"""Presets: every hyper-parameter of a method with its value and the source of the value. Data, no code."""
