"""Building: from a spec and a base to an image."""
