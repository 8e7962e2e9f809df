"""`python -m tests.bench [registry] [builder] [packages]`: measure, print the tables, write docs/benchmarks.md."""

import datetime as dt
import os
import platform
import sys
from pathlib import Path

from tests.bench import builder, packages, registry
from tests.bench.measuring import require

TARGET = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PLOT = TARGET.with_suffix(".svg")


_NEEDED = {
    "registry": ("docker-registry", "nginx", "wrk", "curl"),
    "builder": ("buildah", "docker", "dockerd", "pigz", "tar", "find"),
    "packages": ("docker", "dockerd", "mmdebstrap"),
}


def main() -> None:
    wanted = sys.argv[1:] or list(_NEEDED)
    require(*(program for name in wanted for program in _NEEDED[name]))
    parts = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, Linux {platform.release()}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}. Medians of alternating runs of all that stand in "
        "one table; machines are noisy, so read the ratios, not the figures.",
    ]
    before = TARGET.read_text().split("\n## ")[1:] if TARGET.exists() else []
    for name, part in (
        ("registry", registry.measure),
        ("builder", lambda: builder.measure(plot=PLOT)),
        ("packages", packages.measure),
    ):
        # What is not measured now stays as it was.
        kept = [f"\n## {section.strip()}" for section in before if section.lower().startswith(name)]
        parts += ["", *part()] if name in wanted else kept
    text = "\n".join(parts) + "\n"
    TARGET.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
