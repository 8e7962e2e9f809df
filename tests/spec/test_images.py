"""Several images in one file, and several platforms of one image (SPEC, rules 8 and 9)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.document.problem import DocumentError
from layerkit.oci.platform import parse_platform
from layerkit.oci.reference import RepositoryName, parse_reference
from layerkit.spec.model import CompressionKind, Copy, ImageBase, LayoutBase, RegistryBase, SpecFile

Load = Callable[..., SpecFile]
Refuse = Callable[..., list[tuple[str, str]]]

AMD64, ARM64 = parse_platform("linux/amd64"), parse_platform("linux/arm64")

SHOP = """\
vars: {TAG: dev}
defaults:
  platforms: [linux/amd64, linux/arm64]
  labels: {source: https://example.org/shop, team: shop}
  compression: zstd
  tags: [localhost/default]
images:
  agent:
    from: scratch
    tags: ["localhost/agent:${TAG}"]
    labels: {team: agents}
    layers:
      - copy: [{src: "dist/agent-${arch}", dest: /agent}]
      - copy: [{from: web, src: /etc/ssl/certs/, dest: /etc/ssl/certs/}]
  web:
    from: debian
    compression: none
    tags: []
  debug:
    from: web
    tags: [localhost/debug]
    platforms: [linux/arm64]
"""


def names(images: object) -> list[str]:
    assert isinstance(images, tuple)
    return [image.name for image in images]


class TestDefaults:
    def test_maps_merge_and_lists_replace(self, load_file_text: Load) -> None:
        """SPEC, "Config": "`defaults`: maps merge, lists replace"."""
        agent, web, debug = load_file_text(SHOP).images
        assert agent.specs[0].config.labels == {"source": "https://example.org/shop", "team": "agents"}
        assert web.specs[0].config.labels == {"source": "https://example.org/shop", "team": "shop"}
        assert (agent.tags, web.tags) == ((parse_reference("localhost/agent:dev"),), ())
        assert (agent.platforms, debug.platforms) == ((AMD64, ARM64), (ARM64,))
        assert [image.specs[0].compression.kind for image in (agent, web)] == [
            CompressionKind.ZSTD,
            CompressionKind.NONE,
        ]

    def test_maps_merge_at_any_depth_and_the_defaults_come_first(self, load_file_text: Load) -> None:
        file = load_file_text(
            "defaults: {from: scratch, config: {env: {A: 1, B: 1}, cmd: [a]}, users: {u: {uid: 1, home: /u}}}\n"
            "images: {a: {config: {env: {C: 2, B: 2}, user: u}, users: {u: {uid: 2}}}, b: }"
        )
        first, second = (image.specs[0] for image in file.images)
        assert list(first.config.env.items()) == [("A", "1"), ("B", "2"), ("C", "2")]
        assert (first.config.cmd, first.config.user, first.users[0].home) == (("a",), "2:2", "/u")
        assert (second.config.cmd, second.config.env) == (("a",), {"A": "1", "B": "1"})

    def test_what_is_wrong_with_them_is_told_once_and_where_it_stands(self, refuse: Refuse) -> None:
        text = "defaults: {from: scratch, lables: {}}\nimages: {a: {config: {comand: [x]}}, b: {}}"
        assert refuse(text) == [
            ("1:27: unknown key 'lables'", "did you mean `labels`?"),
            ("2:23: unknown key 'comand' in config", "did you mean `cmd`?"),
        ]


class TestForm:
    def test_an_image_under_images_is_named_by_its_key(self, load_file_text: Load) -> None:
        """Rule 9: "A file with `images:` describes several images by name"."""
        file = load_file_text(SHOP)
        assert names(file.images) == ["agent", "web", "debug"]
        assert [spec.name for image in file.images for spec in image.specs] == ["agent"] * 2 + ["web"] * 2 + ["debug"]

    def test_a_file_without_images_describes_one(self, load_file_text: Load, folder: Path) -> None:
        """Rule 9: "a file without it describes one image with the same keys, named after the file or its folder"."""
        file = load_file_text("from: scratch")
        assert (names(file.images), file.path, file.context) == (["shop"], Path("layerkit.yaml"), folder)

    @pytest.mark.parametrize(
        ("text", "problem", "hint"),
        [
            (
                "images: {a: {from: scratch}}\nfrom: scratch",
                "2:1: `from` stands beside `images`: a file describes one image, or several by name",
                "move it into an image, or into `defaults:` for all of them",
            ),
            (
                "name: a\nimages: {a: {from: scratch}}",
                "1:1: `name` stands beside `images`, where each image has its own",
                "remove it: an image's key is its name",
            ),
            (
                "defaults: {}\nfrom: scratch",
                "1:1: unknown key 'defaults'",
                "with one image there is nothing to share: move its keys up, to the top",
            ),
            ("image: {a: {from: scratch}}", "1:1: unknown key 'image'", "did you mean `from`?"),
            (
                "images: {a: {from: scratch}}\ndefault: {}",
                "2:1: unknown key 'default'",
                "did you mean `defaults`?",
            ),
            (
                "images: {a: {from: scratch}}\nservices: {}",
                "2:1: unknown key 'services'",
                "known keys: defaults, images, vars",
            ),
            (
                "images: {a: {from: scratch, name: b}}",
                "1:29: unknown key 'name'",
                "an image under `images:` is named by its key",
            ),
            (
                "images: {a: {from: scratch, vars: {}}}",
                "1:29: unknown key 'vars'",
                "`vars:` stands at the top of the file, for all images",
            ),
            ("images: {}", "1:1: `images` is empty", "give it one, or remove the key"),
            (
                "images: [{from: scratch}]",
                "1:1: expected a map of images, found a list",
                "write `NAME: {from: ...}`, one for each image",
            ),
            (
                "images: ",
                "1:1: expected a map of images, found nothing",
                "write `NAME: {from: ...}`, one for each image",
            ),
            ("images: {a: }", "1:10: missing key `from`", ""),
            ("images: {a: [b]}", "1:10: expected a map, found a list", ""),
            (
                "images: {My App: {from: scratch}}",
                "1:10: name 'My App' does not fit a repository: a-z and 0-9, parted by single . _ or -",
                "write `my-app:`",
            ),
            (
                "images: {scratch: {from: a}}",
                "1:10: `scratch` is the empty base, and no name of an image",
                "choose another name",
            ),
            ("defaults: [a]\nimages: {a: {from: scratch}}", "1:11: expected a map, found a list", ""),
            (
                "defaults:\nimages: {a: {from: scratch}}",
                "1:1: `defaults` has no value",
                "give it one, or remove the key",
            ),
        ],
    )
    def test_the_two_forms_do_not_mix(self, refuse: Refuse, text: str, problem: str, hint: str) -> None:
        """Rule 9: "The two don't mix"."""
        assert refuse(text) == [(problem, hint)]

    def test_what_is_wrong_with_several_images_is_shown_at_once(self, refuse: Refuse) -> None:
        text = "nmae: x\nimages:\n  a: {from: scratch, mode: 755}\n  B: {from: scratch}\n  c: {layers: 1}"
        assert [problem.partition(":")[0] for problem, _ in refuse(text)] == ["1", "3", "4", "5", "5"]

    def test_there_is_a_limit_to_images(self, refuse: Refuse) -> None:
        """Each of them takes its own copy of the defaults."""
        text = "images:\n" + "".join(f"  a{number}: {{from: scratch}}\n" for number in range(201))
        assert refuse(text) == [("1:1: 201 images, 200 are allowed", "part the file")]


class TestNeeds:
    def test_another_image_of_the_file_wins_over_a_registry(self, load_file_text: Load) -> None:
        """SPEC, "`from:`": "An image of this file, else a registry"."""
        agent, web, debug = (image.specs[0] for image in load_file_text(SHOP).images)
        assert debug.base == ImageBase(RepositoryName("web"))
        assert web.base == RegistryBase(parse_reference("debian"))
        copy = agent.layers[1].copies[0]
        assert isinstance(copy, Copy)
        assert (copy.origin, copy.src) == (ImageBase(RepositoryName("web")), "/etc/ssl/certs")
        assert {name: str(position) for name, position in agent.images.items()} == {"web": "layerkit.yaml:14:23"}

    def test_a_reference_with_a_tag_is_never_an_image_of_the_file(self, load_file_text: Load) -> None:
        file = load_file_text("images: {a: {from: 'b:1'}, b: {from: scratch}}")
        assert file.images[0].specs[0].base == RegistryBase(parse_reference("b:1"))

    def test_the_one_image_of_a_file_may_have_the_name_of_its_base(self, load_file_text: Load) -> None:
        file = load_file_text("{name: debian, from: debian}")
        assert file.images[0].specs[0].base == RegistryBase(parse_reference("debian"))

    def test_a_layout_to_copy_from_is_relative_to_the_file(self, load_file_text: Load, folder: Path) -> None:
        file = load_file_text("from: scratch\nlayers: [{copy: [{from: 'oci:../b:1', src: /a, dest: /a}]}]")
        copy = file.images[0].specs[0].layers[0].copies[0]
        assert isinstance(copy, Copy)
        assert isinstance(copy.origin, LayoutBase)
        assert (copy.origin.path, copy.origin.reference) == (folder / "../b", "1")

    def test_images_are_selected_with_what_they_need_before_them(self, load_file_text: Load) -> None:
        """SPEC: "No IMAGE builds all"; an image is built after those it is built on or copies from."""
        file = load_file_text(SHOP)
        assert names(file.select()) == ["web", "agent", "debug"]
        assert names(file.select(["debug"])) == ["web", "debug"]
        assert names(file.select(["agent", "web", "agent"])) == ["web", "agent"]

    def test_an_unknown_name_is_refused_with_the_one_that_is_meant(self, load_file_text: Load) -> None:
        file = load_file_text(SHOP)
        with pytest.raises(DocumentError) as caught:
            file.select(["wbe", "zzz"])
        assert [(str(problem), problem.hint) for problem in caught.value.problems] == [
            ("layerkit.yaml:7:1: no image of this file is named 'wbe'", "did you mean `web`?"),
            ("layerkit.yaml:7:1: no image of this file is named 'zzz'", "known: agent, web, debug"),
        ]

    def test_no_image_may_need_itself(self, refuse: Refuse) -> None:
        copy = "layers: [{copy: [{from: a, src: /x, dest: /x}]}]"
        assert refuse(f"images:\n  a: {{from: b}}\n  b: {{from: c}}\n  c: {{from: scratch, {copy}}}") == [
            ("4:46: image `a` would need itself: a -> b -> c -> a", "take one of these out of the circle")
        ]
        assert refuse("images:\n  a: {from: a}\n") == [
            ("2:13: `a` is this image itself", "write docker.io/library/a for that of the registry")
        ]
        assert refuse(f"images:\n  a: {{from: scratch, {copy}}}\n") == [
            ("2:46: `a` is this image itself", "write docker.io/library/a for that of the registry")
        ]

    def test_an_image_must_be_built_for_whoever_needs_it(self, refuse: Refuse) -> None:
        text = """\
images:
  a: {from: scratch, platforms: [linux/amd64]}
  b: {from: a, platforms: [linux/amd64, linux/arm64]}
"""
        assert refuse(text) == [
            (
                "3:13: image `a` is not built for linux/arm64, but for linux/amd64",
                "give both the same `platforms:`, in `defaults:` for example",
            )
        ]

    def test_no_two_images_have_one_tag(self, refuse: Refuse) -> None:
        text = "images:\n  a: {from: scratch, tags: [localhost/a]}\n  b: {from: scratch, tags: ['localhost/a:latest']}"
        assert refuse(text) == [
            ("3:28: image `a` has the tag localhost/a:latest too", "give each image tags of its own")
        ]


class TestPlatforms:
    TEXT = "vars: {V: '${arch}!'}\nfrom: 'a:${arch}'\nlabels: {v: '${V}', p: '${platform}'}\n"

    def test_there_is_a_spec_for_each_platform_in_the_order_of_the_file(self, load_file_text: Load) -> None:
        """Rule 8: "several an index in file order"; rule 4: `${arch}` is that of the platform."""
        (image,) = load_file_text(f"{self.TEXT}platforms: [linux/arm/v7, linux/amd64]").images
        assert [str(platform) for platform in image.platforms] == ["linux/arm/v7", "linux/amd64"]
        assert [spec.base for spec in image.specs] == [
            RegistryBase(parse_reference("a:arm")),
            RegistryBase(parse_reference("a:amd64")),
        ]
        assert image.specs[0].config.labels == {"v": "arm!", "p": "linux/arm/v7"}

    def test_without_platforms_the_default_is_taken(self, load_file_text: Load) -> None:
        """SPEC: "The default platform is linux/<host architecture>"."""
        (image,) = load_file_text(self.TEXT, default_platform=ARM64).images
        assert image.platforms == (ARM64,)
        assert image.specs[0].config.labels["v"] == "arm64!"

    def test_the_command_line_replaces_the_platforms_of_the_file(self, load_file_text: Load) -> None:
        (image,) = load_file_text(f"{self.TEXT}platforms: [linux/s390x]", platforms=(ARM64, AMD64, ARM64)).images
        assert image.platforms == (ARM64, AMD64)

    def test_platforms_may_come_from_variables(self, load_file_text: Load) -> None:
        text = "vars: {P: linux/s390x}\nfrom: scratch\nplatforms: ['${P}', 'linux/${arch}']"
        (image,) = load_file_text(text, variables={"P": "linux/arm64"}).images
        assert image.platforms == (ARM64, AMD64)

    def test_what_is_wrong_for_every_platform_is_told_once(self, refuse: Refuse) -> None:
        assert refuse("from: scratch\nplatforms: [linux/amd64, linux/arm64]\nconfig: {entrypoint: a}") == [
            ("3:22: expected a list, found 'a'", 'write it as a list: ["a"]')
        ]

    def test_what_is_wrong_for_one_platform_alone_is_told(self, refuse: Refuse) -> None:
        text = "from: scratch\nplatforms: [linux/amd64, linux/arm/v7]\nlabels: {l: '${variant:?set it}'}"
        assert [problem for problem, _ in refuse(text)] == ["3:13: variable `variant`: set it"]

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("name", "one image has one name"),
            ("tags", "a tag names the image of all platforms: leave ${arch} and its like out"),
        ],
    )
    def test_names_are_those_of_all_platforms(self, refuse: Refuse, key: str, hint: str) -> None:
        value = "'a-${arch}'" if key == "name" else "['localhost/a:${arch}']"
        text = f"from: scratch\nplatforms: [linux/amd64, linux/arm64]\n{key}: {value}"
        assert refuse(text) == [(f"3:7: `{key}` is not the same for all platforms", hint)]

    def test_there_is_a_limit_to_platforms(self, refuse: Refuse) -> None:
        platforms = ", ".join(f"linux/a{number}" for number in range(65))
        assert refuse(f"from: scratch\nplatforms: [{platforms}]") == [("2:12: 65 platforms, 64 are allowed", "")]
