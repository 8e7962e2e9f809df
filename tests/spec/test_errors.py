"""Wrong specs, and every word that their author reads."""

from collections.abc import Callable

import pytest

Refuse = Callable[..., list[tuple[str, str]]]

ONE_LAYER = "from: scratch\nlayers:\n  - copy:\n      - "
FETCH = "from: scratch\nlayers: [{fetch: ["
CONFIG = "from: scratch\nconfig:\n  "
KNOWN_IN_CONFIG = (
    "known keys: cmd, entrypoint, env, expose, healthcheck, labels, shell, stop_signal, user, volumes, workdir"
)
KNOWN_BASES = (
    "known: scratch, a reference, oci:DIR, oci-archive:FILE, docker-archive:FILE, tar:FILE, store:REF, "
    "another image of the file"
)
LATER = "is not supported yet by this version"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        # Rule 1: one spelling for one thing
        (f"{CONFIG}command: [a]", "3:3: unknown key 'command' in config", "did you mean `cmd`?"),
        (f"{CONFIG}environment: {{A: b}}", "3:3: unknown key 'environment' in config", "did you mean `env`?"),
        (f"{CONFIG}working_dir: /a", "3:3: unknown key 'working_dir' in config", "did you mean `workdir`?"),
        (f"{CONFIG}WorkingDir: /a", "3:3: unknown key 'WorkingDir' in config", "did you mean `workdir`?"),
        (f"{CONFIG}ports: [80]", "3:3: unknown key 'ports' in config", "did you mean `expose`?"),
        (f"{CONFIG}entrypont: [a]", "3:3: unknown key 'entrypont' in config", "did you mean `entrypoint`?"),
        (f"{CONFIG}Entrypoint: [a]", "3:3: unknown key 'Entrypoint' in config", "did you mean `entrypoint`?"),
        (f"{CONFIG}zzz: 1", "3:3: unknown key 'zzz' in config", KNOWN_IN_CONFIG),
        ("image: debian", "1:1: unknown key 'image'", "did you mean `from`?"),
        ("base: debian", "1:1: unknown key 'base'", "did you mean `from`?"),
        ("from: scratch\nentrypoint: [a]", "2:1: unknown key 'entrypoint'", "did you mean `config.entrypoint`?"),
        ("from: scratch\nplatform: linux/arm64", "2:1: unknown key 'platform'", "did you mean `platforms`?"),
        (
            "from: scratch\nlayers: [{files: [a:/b]}]",
            "2:11: unknown key 'files' in layers[0]",
            "did you mean `copy`?",
        ),
        (
            f"{ONE_LAYER}{{source: a, dest: /b}}",
            "4:10: unknown key 'source' in layers[0].copy[0]",
            "did you mean `src`?",
        ),
        # Rule 2: short and long form; lists only for commands
        (f'{CONFIG}entrypoint: "a b"', "3:15: expected a list, found 'a b'", 'write it as a list: ["a", "b"]'),
        (f"{CONFIG}cmd: sh -c 'a b'", "3:8: expected a list, found \"sh -c 'a b'\"", None),
        (
            "from: scratch\nlayers: [{copy: a:/b}]",
            "2:17: expected a list, found 'a:/b'",
            'write it as a list: ["a:/b"]',
        ),
        (f"{ONE_LAYER}./a", "4:9: './a' has no destination", "write ./a:/DEST"),
        (f"{ONE_LAYER}a:/b:c", "4:9: 'a:/b:c' has more than one colon", "write {src: ..., dest: ...}"),
        (f"{ONE_LAYER}[a, /b]", "4:9: expected `src:dest` or a map, found a list", ""),
        (f"{ONE_LAYER}{{src: a}}", "4:9: missing key `dest` in layers[0].copy[0]", ""),
        (
            f"{ONE_LAYER}{{dest: /b}}",
            "4:9: expected `src` or `content`, found neither",
            "`src` is a file, `content` its text",
        ),
        (
            f"{ONE_LAYER}{{src: a, content: b, dest: /b}}",
            "4:9: expected `src` or `content`, found both",
            "`src` is a file, `content` its text",
        ),
        (
            f"{ONE_LAYER}{{content: a, dest: /b/}}",
            "4:9: `content` needs the name of its file, and /b/ is a directory",
            "",
        ),
        (
            f"{ONE_LAYER}{{content: a, dest: /b, exclude: [c]}}",
            "4:9: `exclude` goes with `src`, not with `content`",
            "remove it",
        ),
        # Rule 3: core scalars, duplicate keys, tabs
        (
            f"{ONE_LAYER}{{src: a, dest: /b, mode: 755}}",
            "4:34: file mode 755 could be decimal or octal",
            'write "0755"',
        ),
        ("from: scratch\nfrom: b", "2:1: key 'from' stands here twice", "the first one is on line 1"),
        ("from: scratch\nlayers:\n\t- copy: [a:/b]", "3:1: a tab indents this line", "indent with spaces"),
        (f"{CONFIG}env: {{A: }}", "3:9: expected text, found nothing", 'write "" for an empty text'),
        (f"{CONFIG}env: [A=b]", "3:8: expected a map, found a list", 'write it as a map: {"A": "b"}'),
        (f"{CONFIG}env: {{A=b: c}}", "3:9: 'A=b' cannot be the name of a variable", "write `NAME: value`"),
        (f"{CONFIG}user:", "3:3: `user` has no value", "give it one, or remove the key"),
        # Rule 4: variables
        (
            "from: scratch\ntags: [img:${TAG}]",
            "2:8: `${...}` within [...] or {...} needs quotes: YAML takes its { for the beginning of a map",
            'write "img:${TAG}"',
        ),
        ("vars: {TAG: x}\nfrom: a:${TGA}", "2:7: variable `TGA` is not declared", "did you mean `TAG`?"),
        # Rule 5: paths
        (f"{ONE_LAYER}a:b", "4:9: destination 'b' is not absolute", "write /b"),
        (f"{ONE_LAYER}{{src: a, dest: ./b/}}", "4:24: destination './b/' is not absolute", "write /b/"),
        (f"{ONE_LAYER}a:/b/../c", "4:9: destination '/b/../c' contains `..`", "write /c"),
        (f"{ONE_LAYER}../a:/b", "4:9: source '../a' leaves the folder of this file", "move the file, or the spec"),
        (
            f"{ONE_LAYER}/etc/a:/b",
            "4:9: source '/etc/a' is absolute: sources stand in the folder of this file",
            "write ./etc/a",
        ),
        (f"{CONFIG}workdir: srv", "3:12: path 'srv' is not absolute", "write /srv"),
        (
            "from: scratch\nlayers: [{symlink: {/a/: b}}]",
            "2:21: '/a/' names a directory, not a symlink",
            "remove the / at its end",
        ),
        # Layers: other things than copies
        (
            f"{ONE_LAYER}https://a/b:/c",
            "4:9: 'https://a/b:/c' is a URL",
            "write it under `fetch:`, as {url: ..., dest: ...}",
        ),
        (
            f"{ONE_LAYER}{{from: web, src: a, dest: /b}}",
            "4:26: source 'a' is not absolute: in an image there is no folder to begin from",
            "write /a",
        ),
        (f"{ONE_LAYER}{{from: web, src: /a/../b, dest: /b}}", "4:26: source '/a/../b' contains `..`", "write /b"),
        (
            f"{ONE_LAYER}{{from: scratch, src: /a, dest: /b}}",
            "4:16: scratch is empty: there is nothing to copy from it",
            "name an image",
        ),
        (f"{ONE_LAYER}{{from: 'A B', src: /a, dest: /b}}", "4:16: invalid repository name 'library/A B'", None),
        (
            f"{ONE_LAYER}{{from: web, content: a, dest: /b}}",
            "4:9: `from` goes with `src`, not with `content`",
            "remove it",
        ),
        (
            f"{ONE_LAYER}{{content: a, dest: /b, caps: cap_chown=ep}}",
            "4:9: `caps` goes with `src`, not with `content`",
            "remove it",
        ),
        (
            f"{ONE_LAYER}{{src: a, dest: /b, caps: net_raw=ep}}",
            "4:34: no capability is named 'net_raw'",
            "did you mean `cap_net_raw`?",
        ),
        (
            f"{ONE_LAYER}{{src: a, dest: /b, mtime: sorce}}",
            "4:35: expected 'epoch' or 'source', found 'sorce'",
            "did you mean `source`?",
        ),
        (
            f"{ONE_LAYER}{{src: a, dest: /b, chown: 1}}",
            "4:28: unknown key 'chown' in layers[0].copy[0]",
            "did you mean `owner`?",
        ),
        (
            f"{ONE_LAYER}{{src: a, dest: /b, capabilities: x}}",
            "4:28: unknown key 'capabilities' in layers[0].copy[0]",
            "did you mean `caps`?",
        ),
        (
            f"{ONE_LAYER}a:/b/.wh.c",
            "4:9: '.wh.c' would be read as a mark that deletes a file",
            "use `remove:` to delete, else rename it",
        ),
        (f"{ONE_LAYER}a:/{'n' * 256}", f"4:9: name '{'n' * 157}'... has 256 bytes, 255 are allowed", None),
        (f"{ONE_LAYER}a:/{'n/' * 2048}", "4:9: path", None),
        (
            f"{FETCH}{{url: 'ftp://a/b', dest: /b}}]}}]",
            "2:25: expected a URL of http or https, found 'ftp://a/b'",
            "",
        ),
        (
            f"{FETCH}{{url: 'example.org/b', dest: /b}}]}}]",
            "2:25: expected a URL of http or https, found 'example.org/b'",
            "write https://example.org/b",
        ),
        (f"{FETCH}{{url: 'https:///b', dest: /b}}]}}]", "2:25: URL 'https:///b' names no host", ""),
        (f"{FETCH}{{url: 'https://a:99999/b', dest: /b}}]}}]", "2:25: URL 'https://a:99999/b' is not valid", None),
        (f"{FETCH}{{url: 'https://[a/b', dest: /b}}]}}]", "2:25: URL 'https://[a/b' is not valid", None),
        (
            f"{FETCH}{{url: 'https://me:pass@a/b', dest: /b}}]}}]",
            "2:25: a URL in a spec holds no user and no password",
            "remove what stands before the @",
        ),
        (
            f"{FETCH}{{url: 'https://a/b#c', dest: /b}}]}}]",
            "2:25: URL 'https://a/b#c' has a #fragment, which no server sees",
            "remove it",
        ),
        (
            f"{FETCH}{{url: 'https://a/b c', dest: /b}}]}}]",
            "2:25: URL 'https://a/b c' holds what no URL can",
            "write spaces and other letters as %XX",
        ),
        (f"{FETCH}{{url: 'https://a/b', dest: b}}]}}]", "2:46: destination 'b' is not absolute", "write /b"),
        (
            f"{FETCH}{{url: 'https://a/', dest: /b/}}]}}]",
            "2:19: no file is named by https://a/, and none by /b/",
            "write /b/NAME",
        ),
        (
            f"{FETCH}{{url: 'https://a/b', dest: /b, extract: true}}]}}]",
            "2:19: an archive is unpacked into a directory, and /b names a file",
            "write /b/",
        ),
        (
            f"{FETCH}{{url: 'https://a/b', dest: /b, strip: 1}}]}}]",
            "2:19: `strip` goes with `extract: true`",
            "remove it",
        ),
        (
            f"{FETCH}{{url: 'https://a/b', dest: /b/, extract: yes}}]}}]",
            "2:60: expected true or false, found 'yes'",
            "write true",
        ),
        (
            f"{FETCH}{{url: 'https://a/b', dest: /b, sha256: 12}}]}}]",
            "2:58: expected the SHA-256 of the file, found '12'",
            "write its 64 hexadecimal digits: `sha256sum FILE`",
        ),
        (
            f"{FETCH}{{url: 'https://a/b', dest: /b, checksum: a}}]}}]",
            "2:50: unknown key 'checksum' in layers[0].fetch[0]",
            "did you mean `sha256`?",
        ),
        (
            f"{FETCH}'https://a/b:/c']}}]",
            "2:19: expected a map, found 'https://a/b:/c'",
            'write {url: "https://a/b", dest: "/c"}',
        ),
        ("from: scratch\nlayers: [{directory: [a]}]", "2:23: destination 'a' is not absolute", "write /a"),
        (
            "from: scratch\nlayers: [{directory: [{path: /a, mode: '0755', dir_mode: '0755'}]}]",
            "2:23: the mode is given twice, by `mode` and by `dir_mode`",
            "remove `dir_mode`",
        ),
        (
            "from: scratch\nlayers: [{directory: [/a, {path: /a/}]}]",
            "2:34: directory /a stands on line 2 already",
            "remove one of them",
        ),
        ("from: scratch\nlayers: [{directory: /a}]", "2:22: expected a list, found '/a'", 'write it as a list: ["/a"]'),
        ("from: scratch\nlayers: [{directory: [5]}]", "2:23: destination '5' is not absolute", "write /5"),
        ("from: scratch\nlayers: [{directory: [[a]]}]", "2:23: expected a map, found a list", ""),
        (
            "from: scratch\nlayers: [{mkdir: [/a]}]",
            "2:11: unknown key 'mkdir' in layers[0]",
            "did you mean `directory`?",
        ),
        ("from: scratch\nlayers: [{remove: [a]}]", "2:20: path 'a' is not absolute", "write /a"),
        ("from: scratch\nlayers: [{remove: [/a/../b]}]", "2:20: path '/a/../b' contains `..`", "write /b"),
        (
            "from: scratch\nlayers: [{remove: [/]}]",
            "2:20: the root itself cannot be removed",
            "write /* for all that is in it",
        ),
        (
            "from: scratch\nlayers: [{delete: [/a]}]",
            "2:11: unknown key 'delete' in layers[0]",
            "did you mean `remove`?",
        ),
        (
            "from: scratch\nlayers: [{run: make}]",
            "2:11: unknown key 'run' in layers[0]",
            "nothing is run: copy what another tool has made",
        ),
        (
            "from: scratch\nlayers: [{users: {}, copy: [a:/b]}]",
            "2:11: unknown key 'users' in layers[0]",
            "`users:` stands beside `layers:`",
        ),
        (
            "from: scratch\nlayers: [{symlink: {/a/b: ../../c}}]",
            "2:27: ../../c leads out of the image",
            "write the target from the root: /...",
        ),
        (
            f"from: scratch\nlayers: [{{symlink: {{/a: {'t' * 4096}}}}}]",
            f"2:25: target '{'t' * 157}'... has 4096 bytes, 4095 are allowed",
            None,
        ),
        # Users
        ("from: scratch\nusers: {a b: 1}", "2:9: 'a b' cannot be the name of a user or a group", None),
        ("from: scratch\nusers: {1a: 1}", "2:9: '1a' cannot be the name of a user or a group", None),
        ("from: scratch\nusers: {a: x}", "2:12: expected a UID or a map, found 'x'", "write it like {uid: 10001}"),
        ("from: scratch\nusers: {a: {gid: 1}}", "2:9: missing key `uid` in users.a", ""),
        (
            "from: scratch\nusers: {a: 4294967295}",
            "2:12: expected a number from 0 to 4294967294, found '4294967295'",
            None,
        ),
        (
            "from: scratch\nusers: {a: {uid: -1}}",
            "2:18: expected a number from 0 to 4294967294, found '-1'",
            "write it like 10001",
        ),
        ("from: scratch\nusers: {a: {uid: 1, home: b}}", "2:27: path 'b' is not absolute", "write /b"),
        (
            "from: scratch\nusers: {a: {uid: 1, shell: '/b:c'}}",
            "2:28: path '/b:c' does not fit a line of /etc/passwd",
            "use no colon in it",
        ),
        (
            "from: scratch\nusers: {a: 1, b: 1}",
            "2:18: user `a` has the number 1 too",
            "give each user a number of its own",
        ),
        (
            "from: scratch\nusers: {a: {uid: 1, gid: 9, group: x}, b: {uid: 2, gid: 9, group: y}}",
            "2:67: group 9 is named 'x' above",
            "write group: x, or another gid",
        ),
        (
            "from: scratch\nusers: {a: {uid: 1, gid: 8, group: x}, b: {uid: 2, gid: 9, group: x}}",
            "2:57: group 'x' has the number 8 above",
            "write gid: 8, or another group",
        ),
        ("from: scratch\nusers: {a: {id: 1}}", "2:13: unknown key 'id' in users.a", "did you mean `uid`?"),
        (
            "from: scratch\nowner: a b",
            "2:8: expected UID, UID:GID or names, found 'a b'",
            "write it like 1000:1000 or app:app",
        ),
        ("from: scratch\ngroup: a b", "2:8: expected GID or GROUP, found 'a b'", "write it like 1000, or a name"),
        # Bases
        (
            "from: 'oci-archive:'",
            "1:7: 'oci-archive:' names no file",
            "write oci-archive:FILE, oci-archive:FILE:TAG or oci-archive:FILE@DIGEST",
        ),
        (
            "from: 'docker-archive:'",
            "1:7: 'docker-archive:' names no file",
            "write docker-archive:FILE or docker-archive:FILE:REF",
        ),
        ("from: 'docker-archive:a:B'", "1:7: invalid repository name 'library/B'", None),
        ("from: 'tar:'", "1:7: 'tar:' names no file", "write tar:FILE, the tar of a root file system"),
        ("from: docker://debian", "1:7: `docker:` is no base that is known", "write debian"),
        ("from: oci:a@b", "1:7: invalid digest 'b'", None),
        (
            "from: scratch\ncompression: zstd:20",
            "2:14: expected a level from 1 to 19, found '20'",
            "write it like zstd:3",
        ),
        (
            "from: scratch\ncompression: 'zstd:'",
            "2:14: expected a level from 1 to 19, found ''",
            "write it like zstd:3",
        ),
        (
            "from: scratch\ncompression: zstd:03",
            "2:14: expected a level from 1 to 19, found '03'",
            "write it like zstd:3",
        ),
        (
            "from: scratch\ncompression: estargz:10",
            "2:14: expected a level from 1 to 9, found '10'",
            "write it like estargz:3",
        ),
        *(
            (
                f"from: scratch\ncompression: 'gzip:{level}'",
                f"2:14: expected a level from 1 to 9, found '{level}'",
                "write it like gzip:6, or gzip:fast",
            )
            for level in ("0", "10", "", "best", "FAST")
        ),
        # Debian packages
        (
            "from: scratch\nlayers: [{apt: nginx}]",
            "2:16: expected a list of packages or a map, found 'nginx'",
            "write [nginx]",
        ),
        ("from: scratch\nlayers: [{apt: []}]", "2:16: `apt` names no packages", "name one, or remove `apt`"),
        ("from: scratch\nlayers: [{apt: {suite: a}}]", "2:11: missing key `packages` in layers[0].apt", ""),
        (
            "from: scratch\nlayers: [{apt: [libc6:i386]}]",
            "2:17: 'libc6:i386' names an architecture: packages are those of the platform that is built",
            "write libc6",
        ),
        ("from: scratch\nlayers: [{apt: [Nginx]}]", "2:17: 'Nginx' is no name of a Debian package", "write nginx"),
        (
            "from: scratch\nlayers: [{apt: [nginx curl]}]",
            "2:17: 'nginx curl' is no name of a Debian package",
            "each package is an item of its own",
        ),
        (
            "from: scratch\nlayers: [{apt: ['-y']}]",
            "2:17: '-y' is no name of a Debian package",
            "write NAME or NAME=VERSION",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], suites: [a]}}]",
            "2:33: unknown key 'suites' in layers[0].apt",
            "did you mean `suite`?",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], suite: ../a}}]",
            "2:40: '../a' is no name of a suite",
            "write it like bookworm, or bookworm-backports",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], mirror: http://a/debian/dists/b}}]",
            "2:41: mirror 'http://a/debian/dists/b' names a suite too",
            "write http://a/debian, and the suite under `suite:`",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], mirror: [http://a, {url: 'ftp://b'}]}}]",
            "2:58: expected a URL of http or https, found 'ftp://b'",
            "",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], snapshot: 2026-11-01}}]",
            "2:43: expected a moment of the dated archive, found '2026-11-01'",
            "write 20261101T000000Z",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], snapshot: 20261101T000000Z, mirror: http://a}}]",
            "2:16: `snapshot` stands in the place of `mirror`",
            "remove one of them",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], keyring: ../a.gpg}}]",
            "2:42: keyring '../a.gpg' leaves the folder of this file",
            "move the file, or the spec",
        ),
        (
            "from: scratch\nlayers: [{apt: {packages: [aa], recommends: true}}]",
            "2:33: unknown key 'recommends' in layers[0].apt",
            "recommended packages are not installed: name those that you want under `packages:`",
        ),
        (
            "from: scratch\nlayers: [{packages: [aa]}]",
            "2:11: unknown key 'packages' in layers[0]",
            "did you mean `apt`?",
        ),
        # Python wheels
        (
            "from: scratch\nlayers: [{python: [flask]}]",
            "2:19: expected the name of a file or a map, found a list",
            "name a requirements.txt",
        ),
        (
            "from: scratch\nlayers: [{python: {into: /a}}]",
            "2:19: `python` names no wheels",
            "give it `requirements: requirements.txt`, or a `lock`",
        ),
        (
            "from: scratch\nlayers: [{python: {requirements: a.txt, lock: uv.lock}}]",
            "2:19: expected `requirements` or `lock`, found both",
            "remove one of them",
        ),
        (
            "from: scratch\nlayers: [{python: {requirements: a.txt, extras: [b]}}]",
            "2:19: `extras` and `groups` are those of a project, and a requirements.txt is of none",
            "write them into that file, like name[extra]",
        ),
        (
            "from: scratch\nlayers: [{python: ../a.txt}]",
            "2:19: '../a.txt' leaves the folder of this file",
            "move the file, or the spec",
        ),
        (
            "from: scratch\nlayers: [{python: /a.txt}]",
            "2:19: '/a.txt' is absolute: it has to stand in the folder of this file",
            "write ./a.txt",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: poetry.lock}}]",
            "2:26: 'poetry.lock' is no lock that is known: expected uv.lock or pylock.toml",
            "run `poetry export`, and name its requirements.txt as `requirements`",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: a.lock}}]",
            "2:26: 'a.lock' is no lock that is known: expected uv.lock or pylock.toml",
            "`uv lock` makes the one, `uv export --format pylock.toml` the other",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, version: 2.7}}]",
            "2:44: expected a version of Python, found '2.7'",
            "write it like 3.13, or 3.13.2",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, into: /}}]",
            "2:41: an environment is a folder of its own, not the root",
            "write /opt/venv",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, interpreter: python3}}]",
            "2:48: path 'python3' is not absolute",
            "write /python3",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, interpreter: /usr/bin/}}]",
            "2:48: '/usr/bin/' names a folder, not a program",
            "write it like /usr/bin/python3",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, extras: ['a b']}}]",
            "2:44: 'a b' is no name of an extra or a group",
            "letters, digits, and `-` between them",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, compile: true}}]",
            "2:44: byte code is made in one way only",
            "write unchecked-hash",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, index: a}}]",
            "2:35: unknown key 'index' in layers[0].python",
            "wheels come from where pip and uv of this machine have been told: pip.conf, uv.toml, UV_INDEX",
        ),
        (
            "from: scratch\nlayers: [{python: {lock: uv.lock, venv: /a}}]",
            "2:35: unknown key 'venv' in layers[0].python",
            "did you mean `into`?",
        ),
        ("from: scratch\nlayers: [{pip: a.txt}]", "2:11: unknown key 'pip' in layers[0]", "did you mean `python`?"),
        # What a later version will understand
        # The other values
        ("tags: [a]", "1:1: missing key `from`", ""),
        ("- a", "1:1: expected a map, found a list", ""),
        (
            "from: docker-daemon:a",
            "1:7: `docker-daemon:` is no base that is known",
            KNOWN_BASES,
        ),
        ("from: 'oci:'", "1:7: 'oci:' names no folder", "write oci:DIR, oci:DIR:TAG or oci:DIR@DIGEST"),
        ("from: 'oci:a:'", "1:7: invalid tag ''", None),
        ("from: Debian", "1:7: invalid repository name 'library/Debian'", None),
        ("from: scratch\ntags: [a@sha256:00]", "2:8: invalid digest 'sha256:00'", None),
        (
            f"from: scratch\ntags: ['a@sha256:{'0' * 64}']",
            f"2:8: tag 'a@sha256:{'0' * 64}' has a digest, which only the build can tell",
            "remove the @ part",
        ),
        (
            "from: scratch\nplatforms: [amd64]",
            "2:13: invalid platform 'amd64': expected os/architecture[/variant], like linux/amd64",
            "",
        ),
        (
            "from: scratch\nplatforms: [linux/arm64, linux/aarch64]",
            "2:26: platform linux/arm64 stands here twice",
            "remove one",
        ),
        (
            "from: scratch\nname: acme/web",
            "2:7: name 'acme/web' has a /: it names the image within this file",
            "write the whole one under `tags:`",
        ),
        (
            "from: scratch\ntimestamp: 2026-01-02",
            "2:12: expected `epoch`, `git` or seconds since 1970, found '2026-01-02'",
            "",
        ),
        (
            "from: scratch\ncompression: gz",
            "2:14: expected gzip, gzip:fast, gzip:LEVEL, zstd, zstd:LEVEL, estargz or none, found 'gz'",
            "",
        ),
        (
            "from: scratch\ncompression: none:1",
            "2:14: expected gzip, gzip:fast, gzip:LEVEL, zstd, zstd:LEVEL, estargz or none, found 'none:1'",
            "",
        ),
        ("from: scratch\nlayers: [{name: a}]", "2:10: the layer is empty", None),
        ("from: scratch\nlayers: [{name: a b, copy: [a:/b]}]", "2:17: layer name 'a b'", None),
        (
            "from: scratch\nlayers: [{copy: [a:/b]}, {name: layer-1, copy: [a:/b]}]",
            "2:33: a layer above is named 'layer-1' too",
            "",
        ),
        (
            "from: scratch\nlayers: [{owner: 1:2, group: 3, copy: [a:/b]}]",
            "2:10: the group is given twice, by `owner` and by `group`",
            "remove `group`",
        ),
        ("from: scratch\nowner: 4294967295", "2:8: expected UID, UID:GID or names, found '4294967295'", None),
        (f"{CONFIG}user: a b", "3:9: expected USER or USER:GROUP, found 'a b'", "write it like 65532:65532"),
        (f"{CONFIG}expose: [8080:80]", "3:12: '8080:80' publishes a port, and an image cannot", "write 80"),
        (
            f"{CONFIG}expose: [70000]",
            "3:12: expected PORT or PORT/udp, found '70000'",
            "write one port, like 8000 or 53/udp",
        ),
        (f"{CONFIG}stop_signal: term", "3:16: expected a signal, found 'term'", "write SIGTERM"),
        (
            f"{CONFIG}healthcheck: {{test: [curl, a]}}",
            '3:23: expected CMD and its words, CMD-SHELL and one text, or NONE, found ["curl", "a"]',
            'write ["CMD", "curl", "a"]',
        ),
        (f"{CONFIG}healthcheck: {{interval: 3s}}", "3:3: missing key `test` in config.healthcheck", ""),
        (
            f"{CONFIG}healthcheck: {{test: [NONE], interval: 30}}",
            "3:41: expected a duration with its unit, found '30'",
            "write 30s",
        ),
        (f"{CONFIG}healthcheck: {{test: [NONE], retries: -1}}", "3:40: expected 0 or more, found -1", ""),
        (
            f"labels: {{a: 1}}\n{CONFIG}labels: {{a: 2}}",
            "4:12: label 'a' stands under `labels:` too, with another value",
            "remove one",
        ),
    ],
)
def test_a_wrong_spec_gives_one_problem_with_its_place_and_a_remedy(
    refuse: Refuse, text: str, problem: str, hint: str | None
) -> None:
    """Rules 1 to 5. A hint of None is one that is not quoted here, and the message may go on."""
    [(found, found_hint)] = refuse(text)
    if hint is None:
        assert found.startswith(problem)
    else:
        assert (found, found_hint) == (problem, hint)


def test_all_that_is_wrong_is_shown_at_once(refuse: Refuse) -> None:
    text = """\
image: debian
platforms: linux/arm64
layers:
  - copy: [a:b, c]
    run: make
config:
  command: [a]
  env: {A: [b]}
"""
    assert [found for found, _ in refuse(text)] == [
        "1:1: unknown key 'image'",
        "2:12: expected a list, found 'linux/arm64'",
        "4:12: destination 'b' is not absolute",
        "4:17: 'c' has no destination",
        "5:5: unknown key 'run' in layers[0]",
        "7:3: unknown key 'command' in config",
        "8:12: expected text, found a list",
    ]
