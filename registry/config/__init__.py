"""The configuration as frozen values: defaults, a YAML file, the environment, the command line, each above the last.

    root: /var/lib/registry        # docs/configuration.md has every key
    listen: 0.0.0.0:5000
    workers: 2

| module | nouns |
|---|---|
| `values` | Configuration, and the values in it: all that the program and its workers see |
| `shape` | which keys may stand where in a file, and its JSON Schema |
| `load` | a file and the environment to a Configuration |
"""

from registry.config.values import (
    Address,
    Configuration,
    Limits,
    LogFormat,
    LogLevel,
    Redirect,
    Tls,
    Users,
    parse_address,
)

__all__ = ["Address", "Configuration", "Limits", "LogFormat", "LogLevel", "Redirect", "Tls", "Users", "parse_address"]
