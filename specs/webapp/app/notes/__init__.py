"""Notes: a web service that keeps short texts in a database."""
