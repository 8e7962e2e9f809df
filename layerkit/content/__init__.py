"""Repositories without a server: in memory, and in an OCI image layout on disk."""
