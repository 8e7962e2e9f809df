"""The application of specs/webapp, of Debian packages and wheels: against docker with a Dockerfile, and mmdebstrap."""

import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.bench.builders import Docker, Registry, run_docker_builder, run_registry
from tests.bench.cases import Case, Clock, Entrant, measure_cases
from tests.bench.measuring import format_figure, run
from tests.bench.usage import Usage, run_measured, run_shell
from tests.programs import PROJECT

SPEC = PROJECT / "specs" / "webapp"
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "netbase", "python3", "tzdata")
"""What the spec installs and a base of mmdebstrap's does not have."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Whom this machine trusts: an index may be one that only it knows."""

OURS = "layerkit"
DOCKER = "docker build"
MMDEBSTRAP = "mmdebstrap, docker import"
_SECONDS = 900

# The wheels are installed in a stage of their own, so that no pip is in the image.
_DOCKERFILE = f"""\
FROM base AS wheels
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
COPY requirements.txt certificates.crt /
RUN python3 -m venv --without-pip /opt/venv \\
 && python3 -m venv /tools \\
 && PIP_CERT=/certificates.crt /tools/bin/pip --python /opt/venv/bin/python install --no-compile -r /requirements.txt
FROM base
RUN apt-get update \\
 && apt-get install -y --no-install-recommends {" ".join(PACKAGES)} \\
 && rm -rf /var/lib/apt/lists/* \\
 && useradd --uid 10001 --home-dir /srv/notes notes \\
 && install -d -o notes -g notes -m 0750 /var/lib/notes
COPY --from=wheels /opt/venv /opt/venv
COPY --chown=notes:notes app /srv/notes
USER notes
ENTRYPOINT ["/opt/venv/bin/python", "-m", "notes"]
"""


def measure() -> list[str]:
    """The table, as lines of Markdown."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        registry = stack.enter_context(run_registry(folder / "registry"))
        bench = _Bench(folder, registry, stack.enter_context(run_docker_builder(registry)))
        [case] = measure_cases(bench.cases(), Clock(_SECONDS))
    rows = [
        "| | seconds | of CPU | MB, compressed |",
        "|---|---|---|---|",
        *(_row(name, usage, case.usages[OURS]) for name, usage in case.usages.items()),
    ]
    return ["## Packages: a web application of Debian packages and wheels, for one platform", "", _ABOUT, "", *rows]


_ABOUT = (
    "The application of `specs/webapp`, built anew to a local image. `layerkit` builds from its lock and with a warm "
    f"cache of packages and wheels; the median of three. `{DOCKER}` has a base that mmdebstrap made before, and "
    "installs with apt and pip in a container; it downloads each time, because the classic builder keeps nothing. "
    f"`{MMDEBSTRAP}` makes the whole system anew, without the application's files, and pip of this machine installs "
    "the wheels. Sizes are of all layers, as a registry has them. In brackets: how many times as much as layerkit."
)


def _row(name: str, usage: Usage, ours: Usage) -> str:
    figures = [(usage.wall, ours.wall), (usage.cpu, ours.cpu), ((usage.stored or 0) / 1e6, (ours.stored or 0) / 1e6)]
    cells = [
        format_figure(figure) + ("" if name == OURS or not best else f" ({figure / best:.2f} x)")
        for figure, best in figures
    ]
    return f"| {name} | {' | '.join(cells)} |"


class _Bench:
    def __init__(self, folder: Path, registry: Registry, docker: Docker) -> None:
        self._folder = folder
        self._registry = registry
        self._docker = docker
        self._context = folder / "webapp"
        shutil.copytree(SPEC, self._context)
        (self._context / "Dockerfile").write_text(_DOCKERFILE)
        shutil.copy(CERTIFICATES, self._context / "certificates.crt")
        sys.stderr.write("making the lock and the base\n")
        self._layerkit("lock", "-q", "-f", str(self._context / "layerkit.yaml"))
        base = folder / "base.tar"
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", SUITE, str(base))
        self._engine("import", str(base), "base")

    def cases(self) -> Iterable[Case]:
        yield Case(
            label="webapp",
            seconds=60,
            entrants=[
                Entrant(name=OURS, run=self._build_ours, prepare=self._forget_ours),
                Entrant(name=DOCKER, run=self._build_docker, rounds=1, seconds=120),
                Entrant(name=MMDEBSTRAP, run=self._import, rounds=1, seconds=60),
            ],
        )

    def _forget_ours(self) -> None:
        """All but what was downloaded, and what is known of it."""
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def _build_ours(self) -> Usage:
        usage, output = self._layerkit(
            *("build", "-q", "--locked", "--platform", "linux/amd64", "--format", "json"),
            *("-f", str(self._context / "layerkit.yaml")),
        )
        layers = json.loads(output)["images"][0]["platforms"][0]["layers"]
        return replace(usage, stored=sum(layer["size"] for layer in layers))

    def _build_docker(self) -> Usage:
        usage = self._engine("build", "-q", "--no-cache", "--network", "host", "-t", "webapp", str(self._context))
        return replace(usage, stored=self._size("webapp"))

    def _import(self) -> Usage:
        root = self._folder / "root.tar"
        # Of what pip installs nothing is run, so that the machine's own Python may do it.
        wheels = (
            f"{sys.executable} -m pip install -q --no-compile --only-binary :all: --python-version 3.11 "
            f'--target "$1/opt/wheels" -r {self._context}/requirements.txt'
        )
        made = run_shell(
            f"mmdebstrap --quiet --mode=root --variant=minbase --include={','.join(PACKAGES)} "
            f"--customize-hook='{wheels}' {SUITE} {root}",
            folder=self._folder,
        )
        imported = self._engine("import", str(root), "imported")
        return replace(made + imported, stored=self._size("imported"))

    def _size(self, image: str) -> int:
        """Bytes of all layers, as the registry has them."""
        name = f"packages/{image}"
        reference = f"{self._registry.address}/{name}:1"
        self._engine("tag", image, reference)
        self._engine("push", "-q", reference)
        with urllib.request.urlopen(
            urllib.request.Request(
                f"http://{self._registry.address}/v2/{name}/manifests/1",
                headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
            )
        ) as response:
            return sum(layer["size"] for layer in json.load(response)["layers"])

    def _engine(self, *arguments: str) -> Usage:
        client = self._docker.client
        environment = {**client.environment, "DOCKER_BUILDKIT": "0"}
        usage, _ = run_measured(*client.arguments, *arguments, environment=environment, daemons=[self._docker.daemon])
        return usage

    def _layerkit(self, *arguments: str) -> tuple[Usage, str]:
        environment = {
            "XDG_DATA_HOME": str(self._folder / "data"),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
        }
        return run_measured(sys.executable, "-m", "layerkit", *arguments, environment=environment)
