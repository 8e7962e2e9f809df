"""`layerkit build --sbom --provenance` and `layerkit sbom`: what is said of an image is what is in it."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.images import HandmadeLayout, file, folder, make_tar, symlink
from tests.programs import LayerkitHere, LayerkitProcess, RegistryProcess, run_program, run_registry

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

nonsense that is no field

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2
Homepage: http://tiswww.case.edu/php/chet/bash/bashtop.html
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-3+
"""
BASE = make_tar(
    file("etc/os-release", b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'),
    folder("usr/share/doc"),
    file("usr/share/doc/bash/copyright", COPYRIGHT.encode()),
    file("var/lib/dpkg/status", STATUS.encode()),
    file("usr/bin/bash", b"a program of the base"),
)
WHEEL = {
    "aio_http-3.1.dist-info/METADATA": "Name: aio_http\nVersion: 3.1\nLicense-Expression: Apache-2.0\n\n",
    "aio_http-3.1.dist-info/RECORD": "aio_http/__init__.py,,\naio_http-3.1.dist-info/METADATA,,\n../../bin/tool,,\n",
    "aio_http/__init__.py": "version = 3\n",
}
SITE = "opt/venv/lib/python3.11/site-packages"
SPEC = f"""\
from: oci:base
layers:
  - name: deps
    copy: [./site:/{SITE}/, {{content: run, dest: /opt/venv/lib/python3.11/bin/other}}]
  - name: app
    copy: [./site/aio_http/__init__.py:/srv/app/main.py, {{content: "é", dest: /srv/app/é}}]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    for name, text in WHEEL.items():
        where = path / "site" / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
    layout = HandmadeLayout(path / "base")
    layout.name(layout.image(BASE))
    (path / "layerkit.yaml").write_text(SPEC)
    return path


@pytest.fixture
def layerkit(tmp_path: Path) -> LayerkitProcess:
    return LayerkitHere(tmp_path / "data")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path_factory.mktemp("sbom") / "registry") as process:
        yield process


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def show(layerkit: LayerkitProcess, *arguments: str) -> Any:
    return json.loads(layerkit("sbom", *arguments).stdout)


class TestSPDX:
    def test_it_has_the_packages_of_all_layers_and_the_files_of_our_own(
        self, layerkit: LayerkitProcess, context: Path
    ) -> None:
        """Issue 6: "SPDX and CycloneDX from the lock and the files, with purls, licences and file hashes"."""
        digest = layerkit("build", "--sbom", "-t", "localhost/x:1", cwd=context).stdout.strip()
        document = show(layerkit, "localhost/x:1")
        packages = {package["name"]: package for package in document["packages"]}
        assert set(packages) == {"context", "debian", "libc6", "bash", "aio-http"}
        assert packages["context"]["versionInfo"] == digest
        assert packages["bash"]["licenseDeclared"] == "GPL-3.0-or-later"
        assert packages["libc6"]["licenseDeclared"] == "NOASSERTION"
        assert packages["aio-http"]["licenseDeclared"] == "Apache-2.0"
        assert {
            name: refs[0]["referenceLocator"] for name in packages if (refs := packages[name].get("externalRefs"))
        } == {
            "libc6": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
            "bash": "pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12",
            "aio-http": "pkg:pypi/aio-http@3.1",
        }
        sums = {
            file["fileName"]: {each["algorithm"]: each["checksumValue"] for each in file["checksums"]}
            for file in document["files"]
        }
        assert sums["./srv/app/main.py"]["SHA256"] == sha256(WHEEL["aio_http/__init__.py"])
        assert sums["./srv/app/é"]["SHA256"] == sha256("é")
        assert f"./{SITE}/aio_http/__init__.py" in sums
        assert "./usr/bin/bash" not in sums

    def test_a_package_has_its_files(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "--sbom", "-t", "localhost/x:1", cwd=context)
        document = show(layerkit, "localhost/x:1")
        names = {file["SPDXID"]: file["fileName"] for file in document["files"]}
        owners = {
            names[relation["relatedSpdxElement"]]: relation["spdxElementId"]
            for relation in document["relationships"]
            if relation["relatedSpdxElement"] in names
        }
        assert "aio-http" in owners[f"./{SITE}/aio_http/__init__.py"]
        assert owners["./srv/app/main.py"] == "SPDXRef-Image"

    def test_the_library_of_spdx_finds_it_valid(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "--sbom", "-t", "localhost/x:1", cwd=context)
        document = JsonLikeDictParser().parse(show(layerkit, "localhost/x:1"))
        assert [message.validation_message for message in validate_full_spdx_document(document)] == []


class TestCycloneDX:
    def test_it_says_the_same(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "--sbom=cyclonedx", "-t", "localhost/x:1", cwd=context)
        document = show(layerkit, "--format", "cyclonedx", "localhost/x:1")
        assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
        components = {component["name"]: component for component in document["components"]}
        assert components["aio-http"]["purl"] == "pkg:pypi/aio-http@3.1"
        assert components["aio-http"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
        hashes = {each["alg"]: each["content"] for each in components["/srv/app/main.py"]["hashes"]}
        assert hashes["SHA-256"] == sha256(WHEEL["aio_http/__init__.py"])
        below = {component["name"] for component in components["aio-http"]["components"]}
        assert f"/{SITE}/aio_http/__init__.py" in below

    def test_its_schema_finds_it_valid(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "--sbom=cyclonedx", "-t", "localhost/x:1", cwd=context)
        text = layerkit("sbom", "--format", "cyclonedx", "localhost/x:1").stdout
        with warnings.catch_warnings():
            # The validator's own library uses what another one will do without.
            warnings.simplefilter("ignore", DeprecationWarning)
            assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


class TestProvenance:
    def test_it_names_the_image_the_spec_and_what_it_was_built_from(
        self, layerkit: LayerkitProcess, context: Path, registry: RegistryProcess
    ) -> None:
        base = f"{registry.address}/base:1"
        layerkit("copy", "oci:base", base, cwd=context)
        (context / "layerkit.yaml").write_text(SPEC.replace("oci:base", base))
        digest = layerkit("build", "--provenance", "-t", "localhost/x:1", cwd=context).stdout.strip()
        statement = show(layerkit, "--format", "provenance", "localhost/x:1")
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["subject"] == [{"name": "context", "digest": {"sha256": digest.removeprefix("sha256:")}}]
        definition = statement["predicate"]["buildDefinition"]
        spec = hashlib.sha256((context / "layerkit.yaml").read_bytes()).hexdigest()
        assert definition["externalParameters"]["spec"] == {"digest": {"sha256": spec}}
        (dependency,) = definition["resolvedDependencies"]
        layout = json.loads((context / "base/index.json").read_text())
        assert f"sha256:{dependency['digest']['sha256']}" == layout["manifests"][0]["digest"]
        assert dependency["name"] == base
        assert statement["predicate"]["runDetails"]["builder"]["version"]["layerkit"]


class TestReferrers:
    def test_the_same_build_says_the_same_and_another_one_takes_its_place(
        self, tmp_path: Path, layerkit: LayerkitProcess, context: Path
    ) -> None:
        flags = ("--sbom", "--sbom=cyclonedx", "--provenance", "--format", "json")

        def referrers(run: LayerkitProcess) -> list[dict[str, str]]:
            found = json.loads(run("build", *flags, "-t", "localhost/x:1", cwd=context).stdout)
            listed: list[dict[str, str]] = found["images"][0]["platforms"][0]["referrers"]
            return listed

        first = referrers(layerkit)
        assert [each["artifactType"] for each in first] == [
            "application/vnd.cyclonedx+json",
            "application/spdx+json",
            "application/vnd.in-toto+json",
        ]
        assert referrers(layerkit) == first == referrers(LayerkitHere(tmp_path / "other"))
        # The image stays the same, and what is said of the spec does not.
        (context / "layerkit.yaml").write_text(f"# a comment\n{SPEC}")
        second = referrers(layerkit)
        assert second[:2] == first[:2]
        shown = json.loads(layerkit("inspect", "--format", "json", "localhost/x:1").stdout)["referrers"]
        assert {each["digest"] for each in shown} == {each["digest"] for each in second}

    def test_they_go_to_the_registry_with_each_platform(
        self, layerkit: LayerkitProcess, context: Path, registry: RegistryProcess, tmp_path: Path
    ) -> None:
        (context / "layerkit.yaml").write_text("from: scratch\nlayers: [{copy: [{content: '${arch}', dest: /a}]}]\n")
        name = f"{registry.address}/several:1"
        platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
        layerkit("build", "--sbom", "--provenance", *platforms, "-t", name, "--push", cwd=context)
        for arch in ("amd64", "arm64"):
            (found,) = show(layerkit, "--remote", "--platform", f"linux/{arch}", name)["files"]
            assert found["checksums"][1]["checksumValue"] == sha256(arch)
            assert show(LayerkitHere(tmp_path / "new"), "--platform", f"linux/{arch}", "--format", "provenance", name)

    def test_they_go_into_layouts_and_archives(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit(
            "build", "--sbom", "-o", "oci:out", "-o", "oci-archive:out.tar", "-o", "docker-archive:d.tar", cwd=context
        )
        for place in ("oci:out", "oci-archive:out.tar"):
            assert json.loads(layerkit("sbom", place, cwd=context).stdout)["spdxVersion"] == "SPDX-2.3"
        assert run_program("skopeo", "inspect", "--raw", f"oci:{context / 'out'}:latest")

    def test_prune_keeps_those_of_images_that_stay_and_rm_takes_them_along(self, tmp_path: Path, context: Path) -> None:
        # Processes of their own: what one counts on is kept for as long as it lives.
        layerkit = LayerkitProcess(tmp_path / "data")
        layerkit("build", "--sbom", "-t", "localhost/x:1", cwd=context)
        layerkit("prune")
        assert show(layerkit, "localhost/x:1")
        layerkit("rm", "localhost/x:1")
        blobs = layerkit.data / "layerkit/store/blobs/sha256"
        assert not any(b"spdxVersion" in path.read_bytes() for path in blobs.iterdir())


class TestCommand:
    def test_an_image_without_one_is_told_how_to_get_it(self, layerkit: LayerkitProcess, context: Path) -> None:
        layerkit("build", "-t", "localhost/x:1", cwd=context)
        done = layerkit("sbom", "localhost/x:1", check=False)
        assert (done.code, done.stdout) == (1, "")
        assert "localhost/x:1 for linux/" in done.stderr
        assert "`layerkit build --sbom`" in done.stderr
        layerkit("build", "--sbom", "-t", "localhost/x:1", cwd=context)
        done = layerkit("sbom", "--format", "cyclonedx", "localhost/x:1", check=False)
        assert "(there is spdx)" in done.stderr

    def test_it_can_look_into_an_image_that_others_made(self, layerkit: LayerkitProcess, context: Path) -> None:
        packages = json.loads(layerkit("sbom", "--make", "oci:base", cwd=context).stdout)["packages"]
        assert {package["name"] for package in packages} == {"oci:base", "debian", "libc6", "bash"}
        done = layerkit("sbom", "--make", "--format", "provenance", "oci:base", cwd=context, check=False)
        assert (done.code, "cannot be seen in it" in done.stderr) == (2, True)

    def test_packages_that_are_none_are_passed_over(self, layerkit: LayerkitProcess, tmp_path: Path) -> None:
        stanzas = ["Package: /\nVersion: 1", "Package: a b\nVersion: 1", "Package: ok\nVersion: %%", "Package: x" * 3]
        stanzas += ["Package: fine\nVersion: 1\nHomepage: http://%\nMaintainer: <<>>\nArchitecture: a/b?c"]
        layout = HandmadeLayout(tmp_path / "odd")
        loop = symlink("usr/share/doc/fine", "fine")
        names = ["-1.dist-info", "a-.dist-info", ".dist-info", "a b-1.dist-info", "b-2.dist-info"]
        files = [file(f"opt/{name}/METADATA", b"\xff\xfe: nonsense") for name in names]
        files += [file("opt/b-2.dist-info/RECORD", b'"a\nb,,\n../../../../etc,,\n\x00')]
        status = file("var/lib/dpkg/status", "\n\n".join(stanzas).encode() + b"\n\n\xff: \x00")
        layout.name(layout.image(make_tar(status, loop, file("etc/os-release", b"ID\nID=\xff\n=="), *files)))
        for form in ("spdx", "cyclonedx"):
            text = layerkit("sbom", "--make", "--format", form, "oci:odd", cwd=tmp_path).stdout
            found = {purl.partition("?")[0] for purl in re.findall(r"pkg:[^\"]+", text)}
            assert {purl.rpartition("/")[2] for purl in found} == {"fine@1", "b@2"}

    def test_a_name_after_the_flag_is_an_image_of_the_spec(self, layerkit: LayerkitProcess, context: Path) -> None:
        (context / "layerkit.yaml").write_text("images: {web: {from: scratch}, db: {from: scratch}}\n")
        done = layerkit("build", "--sbom", "web", cwd=context)
        assert done.stderr.count("tagged") == 1
        done = layerkit("build", "--sbom=xml", "web", cwd=context, check=False)
        assert (done.code, "'xml' is not one of" in done.stderr) == (2, True)
