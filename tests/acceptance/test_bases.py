"""Images on real bases: Debian's root file system as a tar, as indexes, as docker builds on it, and as buildah does.

The same layers are built on each: users, owners by name, modes, capabilities, removals, copies to where symlinks of the
base lead. What comes out is run by docker and by podman, and tells from the inside what it is.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.listing import comparable, listed_tree
from tests.acceptance.tree import read_folder
from tests.engines import OFFLINE, Client, run_buildah, run_docker, run_podman
from tests.programs import PROJECT, LayerkitProcess, RegistryProcess, run_program, run_registry

# A root file system is half a minute's work. `--dist loadfile` keeps this file, and its engines, in one process.
pytestmark = [pytest.mark.engine, pytest.mark.mirror, pytest.mark.timeout(400)]

BASES: Final = ("tar", "our index", "podman's index", "docker", "buildah")

# What is told by whoever runs in the container; the paths come from the spec below.
MAIN: Final = r"""#!/bin/sh
set -eu
echo "user $(id -u):$(id -g) $(id -un) in $(pwd), $GREETING"
stat -c '%n %a %U:%G %Y' "$@"
echo "lib $(readlink /lib), run $(readlink /var/run)"
echo "passwd $(getent passwd app)"
/usr/sbin/getcap /usr/local/bin/busybox
/usr/local/bin/busybox grep CapEff /proc/self/status
cat /var/lib/dpkg/info/*.md5sums | grep -v usr/share/ | (cd / && md5sum -c --quiet) && echo "packages intact"
"""

SPEC: Final = """\
name: app
from: {base}
users:
  app: {{uid: 10001, gid: 10002, home: /srv/app, shell: /bin/sh}}
layers:
  - name: app
    owner: app
    directory:
      - {{path: /srv/app, mode: "0750"}}
      - {{path: /srv/app/data, mode: "02775", group: mail}}
    copy:
      - {{src: main.sh, dest: /srv/app/}}
      - {{src: busybox, dest: /usr/local/bin/busybox, owner: "0:0", mode: "0755", caps: cap_net_bind_service=ep}}
      - {{content: "to usr/lib", dest: /lib/merged, owner: root}}
      - {{content: "to run", dest: /var/run/app.pid, owner: root, mode: "0600"}}
      - {{content: "seed", dest: /tmp/seed}}
      - {{content: "letter", dest: /var/mail/app, owner: app, group: mail, mode: "0660"}}
      - {{content: "su", dest: /usr/local/bin/as-mail, owner: root, group: mail, mode: "02755"}}
    symlink: {{/srv/app/current: data}}
  - name: trim
    remove: {removals}
config:
  user: app
  workdir: /srv/app
  env: {{GREETING: hello}}
  entrypoint: [/bin/sh, /srv/app/main.sh]
  cmd: {paths}
"""

PATHS: Final = {
    "/": "755 root:root",
    "/srv": "755 root:root",
    "/srv/app": "750 app:app",
    "/srv/app/data": "2775 app:mail",
    "/srv/app/main.sh": "755 app:app",
    "/srv/app/current": "777 app:app",
    "/usr/local/bin/busybox": "755 root:root",
    "/usr/local/bin/as-mail": "2755 root:mail",
    "/usr/lib/merged": "644 root:root",
    "/run/app.pid": "600 root:root",
    "/tmp": "1777 root:root",
    "/tmp/seed": "644 app:app",
    "/var/mail": "2775 root:mail",
    "/var/mail/app": "660 app:mail",
    "/usr/bin/su": "4755 root:root",
    "/etc/passwd": "644 root:root",
    "/usr/sbin/unix_chkpwd": "2755 root:shadow",
}
"""Modes and owners of what the spec makes, and of what the base has and nobody touched."""

# What each base has deleted itself, and what it has made for us to delete.
GONE: Final = ("/usr/share/doc", "/usr/share/doc/base-files", "/etc/issue.net")
GONE_BELOW: Final = {"docker": ("/usr/share/man", "/etc/issue"), "buildah": ("/usr/share/man", "/usr/share/bug/apt")}
MADE_BELOW: Final = {"docker": "/opt/made", "buildah": "/opt/made"}


@dataclass(frozen=True)
class Built:
    """An image in the registry, and how it was built."""

    name: str
    digest: str
    manifest: dict[str, Any]
    config: dict[str, Any]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture(scope="module")
def busybox() -> Path:
    path = PROJECT / "specs/hello/bin/busybox"
    if not path.exists():
        run_program(PROJECT / ".ci/busybox", path)
    return path


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[RegistryProcess]:
    with run_registry(scratch / "registry") as process:
        yield process


@pytest.fixture(scope="module")
def docker() -> Iterator[Client]:
    with run_docker(*OFFLINE) as client:
        yield client


@pytest.fixture(scope="module")
def podman() -> Iterator[Client]:
    with run_podman() as client:
        yield client


@pytest.fixture(scope="module")
def rootfs(scratch: Path) -> Path:
    """Debian's essential packages, from the mirror and for the release that this machine has."""
    release = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
    assert release is not None
    mirror = run_program("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split()[0]
    target = scratch / "rootfs.tar"
    run_program(
        *("mmdebstrap", "--quiet", "--variant=essential", "--include=libcap2-bin"),
        *(release[1], target, mirror),
        timeout=300,
    )
    return target


@pytest.fixture(scope="module")
def build(scratch: Path, registry: RegistryProcess, busybox: Path) -> Callable[..., Built]:
    """Build a spec in a folder of its own, push it under a name, and look at what came out."""
    layerkit = LayerkitProcess(scratch / "data", {"XDG_CACHE_HOME": str(scratch / "cache")})

    def run(name: str, spec: str) -> Built:
        context = scratch / f"context-{name}"
        context.mkdir()
        (context / "layerkit.yaml").write_text(spec)
        (context / "main.sh").write_text(MAIN)
        (context / "main.sh").chmod(0o755)
        shutil.copy(busybox, context / "busybox")
        reference = f"{registry.address}/{name}:1"
        digest = layerkit("build", "-q", "-f", context / "layerkit.yaml", "-t", reference, "--push").stdout.strip()
        shown = json.loads(layerkit("inspect", "--format", "json", reference).stdout)
        return Built(reference, digest, shown["manifest"], shown.get("config") or {})

    return run


@pytest.fixture(scope="module")
def base_of(
    scratch: Path, registry: RegistryProcess, docker: Client, podman: Client, rootfs: Path, build: Callable[..., Built]
) -> Callable[[str], str]:
    """What `from:` says of a base, which is made when it is first asked for."""

    def by_docker(debian: Built) -> str:
        name, folder = f"{registry.address}/by-docker:1", scratch / "by-docker"
        folder.mkdir()
        (folder / "Dockerfile").write_text(
            f"FROM {debian.name}\n"
            "ENV OF_THE_BASE=1 GREETING=none\n"
            "RUN rm -r /usr/share/man /etc/issue && mkdir /opt/made && echo made > /opt/made/file\n"
            "RUN chmod 0640 /opt/made/file\n"
            'CMD ["/bin/false"]\n'
        )
        docker("build", "-q", "--network", "none", "-t", name, folder)
        docker("push", "-q", name)
        return name

    def by_buildah(debian: Built) -> str:
        name = f"{registry.address}/by-buildah:1"
        with run_buildah() as buildah:
            container = buildah("from", "--tls-verify=false", debian.name).strip()
            root = Path(buildah("mount", container).strip())
            shutil.rmtree(root / "usr/share/man")
            shutil.rmtree(root / "usr/share/bug")
            (root / "usr/share/bug").mkdir()
            (root / "opt/made").mkdir()
            (root / "opt/made/file").write_text("made")
            buildah("umount", container)
            buildah("config", "--env", "GREETING=none", "--cmd", "/bin/false", container)
            buildah("commit", "--tls-verify=false", container, f"docker://{name}")
        return name

    def by_podman(debian: Built) -> str:
        name = f"{registry.address}/by-podman:1"
        layers = "[{copy: [{content: other, dest: /other}]}]"
        other = build("other", f"name: other\nfrom: scratch\nplatforms: [linux/arm64]\nlayers: {layers}\n")
        podman("manifest", "create", "list")
        podman("manifest", "add", "--tls-verify=false", "list", f"docker://{debian.name}")
        podman("manifest", "add", "--tls-verify=false", "list", f"docker://{other.name}")
        podman("manifest", "push", "--all", "--tls-verify=false", "list", f"docker://{name}")
        return name

    def by_us(rootfs: Path) -> str:
        platforms = "[linux/arm64, linux/amd64, linux/arm/v7]"
        return build("by-us", f"name: by-us\nfrom: tar:{rootfs}\nplatforms: {platforms}\n").name

    @cache
    def debian() -> Built:
        return build("debian", f"name: debian\nfrom: tar:{rootfs}\nconfig: {{env: {{PATH: /usr/bin:/bin}}}}\n")

    @cache
    def make(kind: str) -> str:
        match kind:
            case "docker":
                return by_docker(debian())
            case "buildah":
                return by_buildah(debian())
            case "podman's index":
                return by_podman(debian())
            case "our index":
                return by_us(rootfs)
            case _:
                return f"tar:{rootfs}"

    return make


@pytest.fixture(scope="module")
def app(build: Callable[..., Built], base_of: Callable[[str], str]) -> Callable[[str], Built]:
    """The image on a base."""

    @cache
    def make(kind: str) -> Built:
        removals = ["/usr/share/doc", "/etc/issue.*", *([MADE_BELOW[kind]] if kind in MADE_BELOW else [])]
        spec = SPEC.format(base=base_of(kind), removals=json.dumps(removals), paths=json.dumps([*PATHS]))
        return build("app-" + re.sub(r"\W+", "-", kind), spec)

    return make


@pytest.fixture(scope="module")
def told(app: Callable[[str], Built], docker: Client, podman: Client) -> Callable[[str, str], list[str]]:
    """What the image on a base tells of itself in an engine."""

    @cache
    def run(kind: str, engine: str) -> list[str]:
        name = app(kind).name
        if engine == "docker":
            docker("pull", "-q", name)
            return docker("run", "--rm", "--network", "none", name).splitlines()
        podman("pull", "-q", "--tls-verify=false", name)
        return podman("run", "--rm", "--network", "none", name).splitlines()

    return run


ENGINES: Final = ("docker", "podman")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", BASES)
class TestFromTheInside:
    def test_the_user_of_the_spec_runs_it_where_the_spec_says(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        lines = told(kind, engine)
        assert lines[0] == "user 10001:10002 app in /srv/app, hello"
        assert "passwd app:x:10001:10002::/srv/app:/bin/sh" in lines

    def test_modes_and_owners_are_those_of_the_spec_and_of_the_base(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        found = dict(line.split(" ", 1) for line in told(kind, engine) if line.startswith("/") and " cap_" not in line)
        # Engines make the root and the mount points of containers themselves.
        engines_own = {"/"}
        assert {path: text.rpartition(" ")[0] for path, text in found.items() if path not in engines_own} == {
            path: text for path, text in PATHS.items() if path not in engines_own
        }

    def test_what_the_spec_makes_has_the_time_0(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        times = {line.split()[0]: line.split()[-1] for line in told(kind, engine) if line.startswith("/srv/app/")}
        assert len(times) == 3
        assert set(times.values()) == {"0"}

    def test_symlinks_of_the_base_stay_symlinks(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        """LAYERS, item 13: never emit a dir entry over it."""
        assert "lib usr/lib, run /run" in told(kind, engine)

    def test_a_capability_is_there_and_works(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        """LAYERS, item 22. CAP_NET_BIND_SERVICE is the tenth bit."""
        lines = told(kind, engine)
        assert "/usr/local/bin/busybox cap_net_bind_service=ep" in lines
        assert "CapEff:\t0000000000000400" in lines

    def test_the_packages_of_the_base_are_as_debian_made_them(
        self, told: Callable[[str, str], list[str]], kind: str, engine: str
    ) -> None:
        assert told(kind, engine)[-1] == "packages intact"


@pytest.mark.parametrize("kind", BASES)
class TestFromTheOutside:
    def test_what_was_deleted_is_gone_and_nothing_else(
        self, told: Callable[[str, str], list[str]], app: Callable[[str], Built], podman: Client, kind: str
    ) -> None:
        assert told(kind, "podman")
        root = Path(podman("image", "mount", app(kind).name).strip())
        try:
            gone = (*GONE, *GONE_BELOW.get(kind, ()), "/opt/made")
            assert [path for path in gone if (root / path[1:]).exists()] == []
            kept = {"/usr/share/man", "/etc/issue", "/usr/share/bug", "/usr/share/doc-base"} - {
                *gone,
                "/usr/share/doc-base",
            }
            assert [path for path in kept if not (root / path[1:]).exists()] == []
        finally:
            podman("image", "umount", "--all")

    def test_config_and_history_are_the_base_s_and_ours(
        self, told: Callable[[str, str], list[str]], app: Callable[[str], Built], docker: Client, kind: str
    ) -> None:
        assert told(kind, "docker")
        built = app(kind)
        config = json.loads(docker("inspect", built.name))[0]["Config"]
        env = dict(variable.split("=", 1) for variable in config["Env"])
        assert env["GREETING"] == "hello"
        assert ("OF_THE_BASE" in env) is (kind == "docker")
        assert config["User"] == "10001:10002"
        assert config["Entrypoint"] == ["/bin/sh", "/srv/app/main.sh"]
        assert config["Cmd"] == [*PATHS]
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", built.name).splitlines()
        ours = [line for line in history if line.startswith("layerkit: ")]
        assert len([line for line in ours if ": trim: " in line]) == 1
        assert ("OF_THE_BASE" in "".join(history)) is (kind == "docker")

    def test_the_base_s_layers_are_its_very_bytes(
        self, app: Callable[[str], Built], base_of: Callable[[str], str], kind: str
    ) -> None:
        """LAYERS, item 36: types of Docker become those of OCI, digests stay."""
        built = app(kind)
        assert {layer["mediaType"] for layer in built.manifest["layers"]} == {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        if kind == "tar":
            return
        base = run_program("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{base_of(kind)}")
        document = json.loads(base)
        if "manifests" in document:
            (child,) = (item for item in document["manifests"] if item["platform"]["architecture"] == "amd64")
            name = f"{base_of(kind).rpartition(':')[0]}@{child['digest']}"
            document = json.loads(run_program("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
        digests = [layer["digest"] for layer in document["layers"]]
        assert [layer["digest"] for layer in built.manifest["layers"]][: len(digests)] == digests
        assert len(built.manifest["layers"]) > len(digests)
        assert ("docker" in document["mediaType"]) is (kind == "docker")


@pytest.mark.parametrize("kind", ["tar", "docker", "buildah"])
def test_ls_lists_every_file_as_umoci_unpacks_it(
    app: Callable[[str], Built], layerkit: LayerkitProcess, kind: str, tmp_path: Path
) -> None:
    name, layout = app(kind).name, tmp_path / "layout"
    run_program("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:1")
    run_program("umoci", "unpack", "--image", f"{layout}:1", tmp_path / "bundle")
    try:
        unpacked = comparable(read_folder(tmp_path / "bundle/rootfs"))
    finally:
        shutil.rmtree(tmp_path / "bundle")
    listed = listed_tree(json.loads(layerkit("ls", "--remote", "-R", "--format", "json", name).stdout))
    assert len(unpacked) > 3000
    assert {path: (listed.get(path), found) for path, found in unpacked.items() if listed.get(path) != found} == {}
    assert listed.keys() - unpacked.keys() == set()


def test_the_spec_of_this_project_runs_on_it(
    registry: RegistryProcess, rootfs: Path, scratch: Path, docker: Client, podman: Client
) -> None:
    """specs/base, as its first lines say that it is built."""
    layerkit = LayerkitProcess(scratch / "data", {"XDG_CACHE_HOME": str(scratch / "cache")})
    name = f"{registry.address}/specs/base:1"
    layerkit("build", "-f", PROJECT / "specs/base/layerkit.yaml", "--var", f"BASE=tar:{rootfs}", "-t", name, "--push")
    docker("pull", "-q", name)
    podman("pull", "-q", "--tls-verify=false", name)
    expected = ["uid=10001(service) gid=10001(service) groups=10001(service)", "port=80"]
    for engine in (docker, podman):
        assert engine("run", "--rm", "--network", "none", name).splitlines() == expected
        shown = engine(
            *("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", name, "-c"),
            "stat -c '%a %U' /var/lib/service /srv/service/bin/listen; ls /usr/share/doc | wc -l",
        )
        assert shown.splitlines() == ["700 service", "750 service", "0"]
