"""Python wheels: which ones run on an image, what is in them, and the environment that they make.

| module | nouns |
|---|---|
| `target` | Target: the interpreter, machine and C library of an image, as tags and markers name them |
| `record` | RECORD: the files of a wheel, and their hashes |
| `scripts` | programs of entry points, and whose interpreter scripts begin with |
| `wheel` | Wheel: what a wheel says of itself, and where in it each file is |
| `venv` | wheels in, the entries of a virtual environment out |
"""
