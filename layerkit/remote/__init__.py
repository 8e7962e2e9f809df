"""Repositories over HTTP: any registry that speaks the distribution API.

| module | what it is for |
|---|---|
| `auth` | how to answer a registry's challenges, without I/O |
| `credentials`, `helper` | who we are: the files and helpers of docker and podman |
| `logins` | where a login is kept |
| `tls` | which certificates are trusted, and which are ours |
| `registries` | registries.conf as values |
| `retry` | what is tried again, and when; knows nothing of HTTP |
| `address`, `failure` | where URLs lead; what broke, in words |
| `client`, `outgoing` | one registry's connections: scheme, tokens, redirects, errors, attempts |
| `answers` | what headers say, checked |
| `blob`, `upload` | blobs on their way out and in, resumed where they break off |
| `referrers` | those of registries without an API for them |
| `repository` | the Repository over a client |
| `mirrors` | the Registry that reads from mirrors first |
| `web` | a file by its URL, for what a spec fetches |
"""
