"""The build spec: the file that a user writes, as values.

Rule 1: whatever cannot be built is refused here, at its line and column, with what to write instead; all that is
wrong in one go. What is loaded is frozen, complete (owners, modes and names are resolved) and knows where it stood,
so that the builder can point at the line too. The room is blocking; only `load` reads a file.

| module | nouns |
|---|---|
| `model` | Spec, and the values in it |
| `load` | a file to a Spec |
| `convert` | a validated document to a Spec |
| `variables` | `${VAR}` in the scalars of a document |
| `shape` | which keys may stand where: the models that validate, and from which the JSON Schema comes |
| `text` | the short forms: `src:dest`, `UID:GID`, `8000/tcp`, what may follow `from:` |
"""
