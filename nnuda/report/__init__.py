"""The report of a run: what was adapted to what, whether it worked, what is wrong."""
