"""Repositories over HTTP: any registry that speaks the distribution API.

| module | what it is for |
|---|---|
| `auth` | how to answer a registry's challenges, without I/O |
| `credentials` | who we are: the files and helpers of docker and podman |
| `client` | one registry's connections: scheme, tokens, redirects, errors |
| `repository` | the Repository over a client |
"""
