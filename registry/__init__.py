"""registry: a server of the OCI distribution API over a store of content and an index of it.

| room | what it is for |
|---|---|
| `policy` | what rules mean for one user and one repository |
| `config` | the configuration as values |
| `storage` | the bytes of blobs, and of uploads on their way |
| `metadata` | the index: repositories, tags, manifests, and which blobs they have |
| `local` | the Repository over both: the registry's rules |
| `auth` | who is asking, and may they |
| `handlers` | HTTP: parse, authorize, one verb of a Repository, headers |
| `app` | the composition root: choose drivers, serve, drain |
| `cli` | `layerkit registry ...` |
"""
