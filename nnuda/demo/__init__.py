"""A small two-domain data set and the commands that adapt to it."""
