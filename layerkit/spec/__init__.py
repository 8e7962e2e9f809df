"""The build spec: the file that a user writes, as values.

Rule 1: whatever cannot be built is refused here, at its line and column, with what to write instead; all that is
wrong in one go. What is loaded is frozen, complete (modes, names and attributes are resolved; owners by name need the
base) and knows where it stood, so that the builder can point at the line too. The room is blocking; only `load` reads
a file and only `timestamp` asks git.

| module | nouns |
|---|---|
| `model` | SpecFile, ImageSpec, Spec, and the values in it |
| `load` | a file to a SpecFile |
| `kept` | a SpecFile as bytes and back |
| `assemble` | a parsed file to its images, for each platform |
| `images` | one image at the top, or `images:` with `defaults:` merged |
| `order` | what images need of each other |
| `convert` | a validated document to a Spec |
| `variables` | `${VAR}` in the scalars of a document |
| `shape` and `shape_layer`, `shape_config`, `shape_types` | which keys may stand where: the models that validate |
| `schema` | the JSON Schema of these models |
| `text` | the short forms: `src:dest`, `8000/tcp`, `zstd:3` |
| `bases`, `paths`, `accounts`, `capabilities`, `web` | what may follow `from:`, `dest:`, `owner:`, `caps:`, `url:` |
| `timestamp`, `secrets` | what git says; names that look like a secret |
"""
