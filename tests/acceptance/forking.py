"""A process that forks another for each command: hundreds of them start in the time of a few.

Each line of standard input is a command, as JSON: `arguments`, `environment`, `cwd`, and `output`, a folder for its
`stdout` and `stderr`. The answer is a line with its exit code, -1 for a signal, and the most memory that it had, in
KiB.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

# All that commands import as they need it: what is loaded now is loaded once.
import layerkit.build.builder
import layerkit.cli.build
import layerkit.cli.environment
import layerkit.cli.inspect
import layerkit.cli.pull
import layerkit.cli.push
import layerkit.remote.client
import layerkit.remote.repository  # noqa: F401
from layerkit.cli.main import main


def run(command: dict[str, Any], answer: int) -> None:
    """In a process of its own, until its end."""
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["cwd"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(command["output"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["layerkit", *command["arguments"]]
    code = -1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - a traceback is what the test looks for
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stderr.flush()
    status = Path("/proc/self/status").read_text()
    memory = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert memory is not None
    os.write(answer, json.dumps({"code": code, "memory": int(memory[1])}).encode())
    os._exit(0)


def serve() -> None:
    for line in sys.stdin:
        there, answer = os.pipe()
        if (child := os.fork()) == 0:
            run(json.loads(line), answer)
        os.close(answer)
        with os.fdopen(there) as file:
            told = file.read() or '{"code": -1, "memory": 0}'
        os.waitpid(child, 0)
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
