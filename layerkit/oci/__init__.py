"""The OCI vocabulary: immutable nouns of the image and distribution specs, and nothing that does I/O.

Rule 1: a digest is only ever taken of bytes that were received or are about to be sent. Parsed values
stand beside their raw bytes, never in their place.

| module | nouns |
|---|---|
| `digest` | Digest, the name of any content |
| `mediatype` | the media types, and what they say of content |
| `descriptor` | Descriptor: type, digest and size of content |
| `codec` | JSON: one decoder, one canonical form |
| `platform` | Platform: what an image runs on |
| `reference` | Reference: registry, repository, tag, digest |
| `manifest` | Manifest (raw) and its documents: ImageManifest, ImageIndex, ArtifactManifest |
| `config` | ImageConfig: how a container is run, and from which layers |
| `errors` | the distribution spec's error codes as exceptions |
| `request` | every call of the distribution API as a value, parsed and built from one table |
| `byterange`, `link` | the Range, Content-Range and Link headers |
| `scope` | token scopes and WWW-Authenticate challenges |
| `repository` | the Registry and Repository protocols, the centre of everything |
"""
