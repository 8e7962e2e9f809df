"""The command line: flags in, one call of the library, text out. It alone reads the environment."""
