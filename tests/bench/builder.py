"""The builder against buildah and `tar | pigz`: one folder to an image in an OCI layout."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.measuring import Contender, alternate, run, table, timed

TREE = Path(sys.prefix) / "lib"


def measure() -> list[str]:
    """The table, as lines of Markdown."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        context = folder / "context"
        shutil.copytree(TREE, context / "tree", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        (context / "layerkit.yaml").write_text(
            "name: bench\nfrom: scratch\nlayers: [{copy: [./tree:/tree/]}]\nconfig: {cmd: [a]}\n"
        )
        (context / "Dockerfile").write_text('FROM scratch\nCOPY tree /tree/\nCMD ["a"]\n')
        files = sum(len(names) for _, _, names in os.walk(context / "tree"))
        size = int(run("du", "-sb", str(context / "tree")).split()[0])
        walls = alternate(
            [
                Contender("layerkit", lambda: timed(lambda: _layerkit(context, folder))),
                Contender("buildah bud + push", lambda: timed(lambda: _buildah(context, folder))),
                Contender("tar, pigz -6, 2 x sha256", lambda: timed(lambda: _pigz(context))),
                Contender("tar to cat", lambda: timed(lambda: _shell(f"tar -cf - -C {context} tree | cat >/dev/null"))),
            ]
        )
        label = f"cold build of {files:,} files, {size / 1e6:,.0f} MB, gzip"
        return table("Builder", "seconds", {label: walls}, best="low")


def _layerkit(context: Path, folder: Path) -> None:
    shutil.rmtree(folder / "data", ignore_errors=True)
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "data")}
    run(sys.executable, "-m", "layerkit", "build", "-q", "-f", str(context / "layerkit.yaml"), env=environment)


def _buildah(context: Path, folder: Path) -> None:
    store = ["--root", str(folder / "buildah"), "--runroot", str(folder / "buildah-run")]
    shutil.rmtree(folder / "out", ignore_errors=True)
    run("buildah", *store, "bud", "--no-cache", "-q", "-t", "bench", str(context))
    run("buildah", *store, "push", "-q", "bench", f"oci:{folder}/out:1")
    run("buildah", *store, "rmi", "-af")


def _pigz(context: Path) -> None:
    _shell(
        f"tar -cf - -C {context} tree | tee >(sha256sum >/dev/null) | pigz -6 | tee >(sha256sum >/dev/null) >/dev/null"
    )


def _shell(command: str) -> None:
    subprocess.run(["/bin/bash", "-c", command], check=True)
