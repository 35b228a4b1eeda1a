"""Many trainings from one description: a graph of runs for an engine that exists, and a page on what came out."""
