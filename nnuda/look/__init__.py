"""A pair of domains before any training: measured, judged, drawn."""
