"""Documents: YAML 1.2 text to values, with file:line:column for every error.

Rule 1: a value stands for what was typed. `no`, `22:30`, `0755`, `1_000` and `1.10` are text until the model that
asks for them gives them a type, and whoever refuses one says where it stands. The room is pure; `types` and the
models built from it need pydantic, the rest does not import it.

| module | nouns |
|---|---|
| `problem` | Position, Problem, DocumentError: what is wrong, where, and how to mend it |
| `tree` | Document and its Scalars |
| `parse` | text to a Document |
| `syntax` | the YAML parser's errors in plain English |
| `types` | Section, and the types of its values: Text, Integer, FileMode, Duration ... |
| `validate` | a Document to an instance of a model |
"""
