"""Measurements against other tools, in one run: `make bench`. Nothing here is a test, and nothing has a limit."""
