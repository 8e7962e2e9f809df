"""The store: bytes by digest, and uploads by id. It knows no repositories, no tags and no HTTP."""
