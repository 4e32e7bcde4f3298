"""What follows a model once it inspects a production line: shifts, adaptation, drift, the watched folder, reports.

A room of its own above `training`, `inference` and `labels`: it needs all three, and none of them needs to know that a
line exists. It imports no page; the page and the command line import it.
"""
