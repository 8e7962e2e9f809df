"""Decisions as values: what the rules of an operator mean for one user, one repository. Nothing here does I/O."""
