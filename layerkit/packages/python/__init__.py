"""Python wheels: which ones run on an image, what is in them, and the environment that they make.

| module | nouns |
|---|---|
| `target` | Target: the interpreter, machine and C library of an image, as tags and markers name them |
| `interpreter` | which interpreter and C library an image has |
| `indexes` | where wheels are looked for, as pip and uv of this machine have been told |
| `requirements` | the files of a requirements.txt, and the hashes that it demands |
| `uv` | uv, which resolves requirements |
| `choice` | Chosen: the wheel of a distribution that is best for a target |
| `pylock`, `uvlock` | the locks that Python's tools have |
| `record` | RECORD: the files of a wheel, and their hashes |
| `scripts` | programs of entry points, and whose interpreter scripts begin with |
| `wheel` | Wheel: what a wheel says of itself, and where in it each file is |
| `libraries` | which shared libraries wheels take from the system |
| `bytecode` | modules compiled by an interpreter of this machine |
| `venv` | wheels in, the entries of a virtual environment out |
"""
