"""Figures of papers, a file a pair: what a reader wants to see beside a benchmark, and must not compare line by line."""
