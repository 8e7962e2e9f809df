"""Packages and a file system in, the entries of a layer out: files, accounts, alternatives, dpkg's database, caches."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import pytest

from layerkit.layer.compress import Compression
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.write import write_layer
from layerkit.packages.debian.install import Installed, install
from layerkit.packages.debian.unpack import OpenDeb, open_deb
from layerkit.packages.errors import PackageError
from tests.packages.debian.conftest import Base, Make

PASSWD = b"root:x:0:0:root:/root:/bin/bash\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"
GROUP = b"root:x:0:\nadm:x:4:\nmail:x:8:\n"
ACCOUNTS = {"etc/passwd": PASSWD, "etc/group": GROUP}


def put(*debs: OpenDeb, base: Base | None = None, reasons: dict[str, str] | None = None) -> Installed:
    return install(debs, base or Base(), architecture="amd64", reasons=reasons or {})


def by_path(installed: Installed) -> dict[str, Entry]:
    return {entry.path: entry for entry in installed.entries}


def text_of(installed: Installed, path: str) -> str:
    source = by_path(installed)[path].source
    assert source is not None
    return b"".join(source.pieces(2**20)).decode()


class TestFiles:
    def test_on_scratch_usr_is_merged(self, make: Make) -> None:
        found = by_path(put(make("a", {"bin/a": b"#!x", "lib64/ld.so": b"elf", "usr/bin/b": b"b"})))
        assert {path: entry.link for path, entry in found.items() if entry.type is EntryType.SYMLINK} == {
            "bin": "usr/bin",
            "sbin": "usr/sbin",
            "lib": "usr/lib",
            "lib64": "usr/lib64",
        }
        assert {"usr/bin/a", "usr/lib64/ld.so", "usr/bin/b"} <= found.keys()

    def test_the_links_of_the_base_are_followed(self, make: Make) -> None:
        base = Base({"usr/bin/": b"", "usr/lib/": b"", "usr/sbin/": b""}, links={"bin": "usr/bin", "lib": "usr/lib"})
        found = by_path(put(make("a", {"bin/a": b"#!x"}), base=base))
        assert "usr/bin/a" in found
        assert "bin" not in found

    def test_a_directory_that_is_there_stays_as_it_is(self, make: Make) -> None:
        found = by_path(put(make("a", {"var/": b"", "var/a": b"x"}), base=Base({"var/": b""})))
        assert "var/a" in found
        assert "var" not in found

    def test_hardlinks_stay_hardlinks(self, make: Make) -> None:
        found = by_path(put(make("a", {"bin/a": b"#!x", "bin/b": b"=> ./bin/a"})))
        assert (found["usr/bin/b"].type, found["usr/bin/b"].link) == (EntryType.HARDLINK, "usr/bin/a")

    def test_a_file_of_two_packages_is_refused_but_where_one_replaces_the_other(self, make: Make) -> None:
        one, other = make("a", {"usr/x": b"a"}), make("b", {"usr/x": b"b"})
        with pytest.raises(PackageError, match="/usr/x is in both a and b"):
            put(one, other)
        newer = make("c", {"usr/x": b"c"}, control="Replaces: a (<< 2)\n")
        assert text_of(put(one, newer), "usr/x") == "c"
        assert text_of(put(newer, one), "usr/x") == "c"


def test_what_the_base_has_is_not_configured_again(make: Make) -> None:
    base = {
        "usr/share/base-files/motd": b"m",
        "usr/sbin/shadowconfig": b"#!",
        "etc/passwd": PASSWD,
        "usr/bin/dash": b"#!",
    }
    assert {"etc/motd", "etc/shadow", "usr/bin/sh"}.isdisjoint(
        by_path(put(make("a", {"usr/a": b"a"}), base=Base(base)))
    )
    assert "etc/motd" in by_path(put(make("a", {"usr/share/base-files/motd": b"m"})))


class TestScripts:
    @pytest.mark.parametrize(
        ("statement", "line"),
        [
            (
                "adduser --system --group --no-create-home --home /run/app app",
                r"app:x:(\d+):\1::/run/app:/usr/sbin/nologin",
            ),
            ("adduser --system --quiet app", r"app:x:\d+:65534::/nonexistent:/usr/sbin/nologin"),
            ("useradd -r -u 950 -g mail -d /srv -s /bin/sh app", r"app:x:950:8::/srv:/bin/sh"),
            ("adduser --system --ingroup mail --uid 951 app", r"app:x:951:8::/nonexistent:/usr/sbin/nologin"),
        ],
    )
    def test_system_users_are_made(self, make: Make, statement: str, line: str) -> None:
        script = (
            f'#!/bin/sh\nif [ "$1" = configure ] && ! getent passwd app >/dev/null; then\n  {statement} || true\nfi\n'
        )
        installed = put(make("a", postinst=script), base=Base(ACCOUNTS))
        assert re.search(f"^{line}$", text_of(installed, "etc/passwd"), re.MULTILINE)
        assert installed.unknown == {}

    def test_numbers_depend_on_names_alone(self, make: Make) -> None:
        one = make("a", postinst="#!/bin/sh\nadduser --system --group zed\nadduser --system --group abe\n")
        other = make("b", postinst="#!/bin/sh\nadduser --system --group abe\n")

        def uid(installed: Installed) -> str:
            return next(line for line in text_of(installed, "etc/passwd").splitlines() if line.startswith("abe:"))

        assert uid(put(one, base=Base(ACCOUNTS))) == uid(put(other, base=Base(ACCOUNTS)))

    def test_sysusers_are_made(self, make: Make) -> None:
        conf = b'# users\ng journal 190\nu app - "An app" /srv/app /bin/sh\nu! fixed 955:8\nm app journal\n'
        installed = put(make("a", {"usr/lib/sysusers.d/a.conf": conf}), base=Base(ACCOUNTS))
        passwd, group = text_of(installed, "etc/passwd"), text_of(installed, "etc/group")
        assert re.search(r"^app:x:(\d+):\1:An app:/srv/app:/bin/sh$", passwd, re.MULTILINE)
        assert "fixed:x:955:" in passwd
        assert "journal:x:190:app\n" in group

    def test_folders_and_owners_are_as_the_script_makes_them(self, make: Make) -> None:
        script = """#!/bin/sh
dir="/var/log/app"
mkdir -p $dir
chown root:adm "$dir"
chmod 2750 ${dir}
install -d -m 0700 -o mail -g mail /var/lib/app
touch $dir/log && chown mail:adm $dir/log
ln -sf /usr/share/app/conf /etc/app.conf
cp /usr/share/app/default /etc/default-app
"""
        found = by_path(put(make("a", {"usr/share/app/default": b"d"}, postinst=script), base=Base(ACCOUNTS)))
        assert (found["var/log/app"].mode, found["var/log/app"].gid) == (0o2750, 4)
        assert (found["var/lib/app"].mode, found["var/lib/app"].uid, found["var/lib/app"].gid) == (0o700, 8, 8)
        assert (found["var/log/app/log"].uid, found["var/log/app/log"].gid) == (8, 4)
        assert found["etc/app.conf"].link == "/usr/share/app/conf"
        assert found["etc/default-app"].size == 1

    def test_functions_and_loops_are_followed(self, make: Make) -> None:
        script = """#!/bin/sh
make_one() {
  local name=${1:-none}
  mkdir -p "/var/lib/$name/$2"
}
FOLDERS="a b"
for folder in $FOLDERS; do make_one app $folder; done
for file in /usr/share/app/*.conf; do ln -s "$file" "/etc/${APP:-app}-conf"; done
"""
        found = by_path(put(make("a", {"usr/share/app/x.conf": b"", "usr/share/app/y": b""}, postinst=script)))
        assert {"var/lib/app/a", "var/lib/app/b"} <= found.keys()
        assert found["etc/app-conf"].link == "/usr/share/app/x.conf"

    def test_what_was_said_before_is_believed_and_decides_nothing(self, make: Make) -> None:
        script = """#!/bin/sh
name=app
name=$(look)
mkdir /$name
if [ "$name" = app ]; then touch /yes; else touch /no; fi
"""
        assert {"app", "yes", "no"} <= by_path(put(make("a", postinst=script))).keys()

    def test_a_script_that_multiplies_itself_is_cut_short(self, make: Make) -> None:
        calls = "".join(f"f{n}() {{ f{n + 1}; f{n + 1}; f{n + 1}; }}\n" for n in range(14))
        installed = put(make("a", postinst=f"#!/bin/sh\n{calls}f14() {{ :; }}\nf0\n"))
        assert installed.unknown == {"a": ("more than can be followed here",)}

    @pytest.mark.parametrize(
        ("statement", "is_done"),
        [
            ('if [ "$1" = configure ] && [ -z "$2" ]; then touch /x; fi', True),
            ('if [ "$1" = upgrade ]; then touch /x; fi', False),
            ('case "$1" in upgrade|remove) touch /x ;; esac', False),
            ('case "$1" in conf*) touch /x ;; *) exit 1 ;; esac', True),
            ('if dpkg --compare-versions "$2" lt-nl 2; then touch /x; fi', False),
            ("if [ -d /run/systemd/system ]; then touch /x; else mkdir /y; fi", False),
            ("test -e /usr/a && touch /x", True),
            ("[ ! -e /usr/a -o -L /usr/a ] || touch /x", True),
            ("if ! command -v no-such-program >/dev/null; then touch /x; fi", True),
            ("exit 0\ntouch /x", False),
            # What nobody knows is done.
            ("if getent passwd app; then exit 0; fi; touch /x", True),
            ('if [ -n "$(look)" ]; then touch /x; fi', True),
            ('A=$(look); if [ "$A" = b ]; then touch /x; fi', True),
        ],
    )
    def test_conditions_are_decided_where_that_can_be(self, make: Make, statement: str, is_done: bool) -> None:
        installed = put(make("a", {"usr/a": b"a"}, postinst=f"#!/bin/sh\n{statement}\n"))
        assert (("x" in by_path(installed)), installed.unknown) == (is_done, {})

    def test_what_is_made_under_another_umask_is_for_its_owner_alone(self, make: Make) -> None:
        one = make("a", postinst="#!/bin/sh\numask 077\ntouch /secret\nmkdir /own\n")
        found = by_path(put(one, make("b", postinst="#!/bin/sh\ntouch /open\n")))
        assert [found[path].mode for path in ("secret", "own", "open")] == [0o600, 0o700, 0o644]

    def test_what_other_files_of_packages_define_is_known(self, make: Make) -> None:
        library = make("lib", {"usr/share/lib/functions": b"make_it() { touch /$1; }\n"})
        script = "#!/bin/sh\n. /usr/share/lib/functions\nmake_it x\n"
        assert "x" in by_path(put(library, make("a", postinst=script)))

    def test_scripts_are_followed_in_the_order_of_what_packages_need(self, make: Make) -> None:
        one = make("a", {"usr/bin/a": b"#!"}, control="Depends: z\n", postinst="#!/bin/sh\nchown root:zed /usr/bin/a\n")
        other = make("z", postinst="#!/bin/sh\naddgroup --system zed\n")
        installed = put(one, other, base=Base(ACCOUNTS))
        assert (by_path(installed)["usr/bin/a"].gid > 0, installed.unknown) == (True, {})

    @pytest.mark.parametrize(
        ("preinst", "is_told"),
        [
            ("dpkg-divert --package a --add --rename --divert /usr/x.real /usr/x", True),
            ("dpkg-divert --package a --remove /usr/x", False),
            ("# dpkg-divert --add x", False),
            ("dpkg-divert --quiet --add \\\n  --divert /.lib.usr-is-merged /lib", False),
        ],
    )
    def test_diversions_are_told(self, make: Make, preinst: str, is_told: bool) -> None:
        installed = put(make("a", preinst=f"#!/bin/sh\n{preinst}\n"))
        told = ("package a diverts files of other packages, which is not done here",)
        assert installed.doubts == (told if is_told else ())

    def test_capabilities_and_the_bit_of_the_owner_are_set_as_the_script_decides(self, make: Make) -> None:
        # As iputils-ping does it.
        script = """#!/bin/sh
if command -v setcap >/dev/null; then
    if setcap cap_net_raw+ep /usr/bin/ping; then chmod u-s /usr/bin/ping; else chmod u+s /usr/bin/ping; fi
else
    chmod u+s /usr/bin/ping
fi
"""
        without = by_path(put(make("a", {"usr/bin/ping": b"p"}, postinst=script)))["usr/bin/ping"]
        files = {"usr/bin/ping": b"p", "usr/sbin/setcap": b"s"}
        found = by_path(put(make("a", files, postinst=script)))["usr/bin/ping"]
        assert (without.mode & 0o7000, without.xattrs) == (0o4000, ())
        assert found.mode & 0o7000 == 0
        assert found.xattrs == (("security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),)

    def test_what_takes_capabilities_from_elsewhere_is_told(self, make: Make) -> None:
        unknown = put(make("a", postinst="#!/bin/sh\nsetcap cap_net_raw=ep /bin/other\n")).unknown
        assert unknown == {"a": ("setcap cap_net_raw=ep /bin/other",)}

    @pytest.mark.parametrize(
        ("script", "unknown"),
        [
            ("#!/bin/sh\nif a; then\n", "all of it, because expected a word, found `the end`"),
            ("#!/bin/sh\nf() { f; }\nf\n", None),
            ("#!/bin/sh\nmv /usr/a /usr/b\n", "mv /usr/a /usr/b"),
            ("#!/bin/sh\nmv /none /usr/b\n", None),
            ("#!/bin/sh\nmake-it-work --now\n", "make-it-work --now"),
            ("#!/usr/bin/perl\nprint 1;\n", "#!/usr/bin/perl"),
            ("#!/bin/sh\nchown app $HERE\n", "chown app '$HERE'"),
        ],
    )
    def test_what_is_not_understood_is_told(self, make: Make, script: str, unknown: str | None) -> None:
        installed = put(make("a", {"usr/a": b"a"}, postinst=script), base=Base(ACCOUNTS))
        assert installed.unknown == ({"a": (unknown,)} if unknown else {})

    def test_what_concerns_a_running_system_is_passed_over(self, make: Make) -> None:
        script = """#!/bin/sh
set -e
# Automatically added by dh_installsystemd
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] ; then
        deb-systemd-helper unmask 'app.service' >/dev/null || true
        if [ -d /run/systemd/system ]; then
                systemctl --system daemon-reload >/dev/null || true
        fi
fi
case "$1" in
  configure|reconfigure) echo "ready" >&2 ;;
  *) exit 1 ;;
esac
cat > /dev/null <<EOF
make-it-work
EOF
"""
        assert put(make("a", postinst=script)).unknown == {}


class TestAlternatives:
    SCRIPT = (
        "#!/bin/sh\nupdate-alternatives --install /usr/bin/edit edit /usr/bin/{0} {1} \\\n"
        "    --slave /usr/share/edit.1 edit.1 /usr/share/{0}.1\n"
    )

    def make_two(self, make: Make) -> Sequence[OpenDeb]:
        return [
            make(
                name, {f"usr/bin/{name}": b"#!x", f"usr/share/{name}.1": b"m"}, postinst=self.SCRIPT.format(name, rank)
            )
            for name, rank in (("vim", 30), ("nano", 40))
        ]

    def test_the_highest_priority_wins(self, make: Make) -> None:
        installed = put(*self.make_two(make))
        found = by_path(installed)
        assert found["usr/bin/edit"].link == "/etc/alternatives/edit"
        assert found["etc/alternatives/edit"].link == "/usr/bin/nano"
        assert found["etc/alternatives/edit.1"].link == "/usr/share/nano.1"
        assert text_of(installed, "var/lib/dpkg/alternatives/edit") == (
            "auto\n/usr/bin/edit\nedit.1\n/usr/share/edit.1\n\n"
            "/usr/bin/nano\n40\n/usr/share/nano.1\n/usr/bin/vim\n30\n/usr/share/vim.1\n\n"
        )

    def test_those_of_the_base_stay_in_the_record(self, make: Make) -> None:
        record = b"auto\n/usr/bin/edit\n\n/usr/bin/ed\n-100\n\n"
        base = Base({"usr/bin/ed": b"#!x", "var/lib/dpkg/alternatives/edit": record})
        shown = text_of(put(*self.make_two(make), base=base), "var/lib/dpkg/alternatives/edit")
        assert "/usr/bin/ed\n-100\n" in shown
        assert "/usr/bin/vim\n30\n" in shown


class TestPam:
    FILES: ClassVar = {
        "usr/share/pam/common-auth": b"# auth\n$auth_primary\nauth\trequisite\tpam_deny.so\n$auth_additional\n# end\n",
        "usr/share/pam/common-session-noninteractive": b"$session_nonint_primary\n$session_nonint_additional\n",
        "usr/share/pam-configs/unix": b"Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\n"
        b"Auth:\n\t[success=end default=ignore]\tpam_unix.so try_first_pass\n"
        b"Auth-Initial:\n\t[success=end default=ignore]\tpam_unix.so\n",
        "usr/share/pam-configs/other": b"Name: Other\nDefault: yes\nPriority: 128\nAuth-Type: Primary\n"
        b"Auth:\n\t[success=end default=ignore]\tpam_other.so use_first\n"
        b"Auth-Initial:\n\t[success=end]\tpam_other.so\nSession-Type: Additional\n"
        b"Session-Interactive-Only: yes\nSession:\n\toptional pam_other.so\n",
        "usr/share/pam-configs/off": b"Name: Off\nDefault: no\nAuth-Type: Primary\nAuth:\n\tx pam_off.so\n",
    }

    def test_profiles_fill_the_templates_by_priority_and_jump_over_what_follows(self, make: Make) -> None:
        installed = put(make("a", self.FILES))
        assert text_of(installed, "etc/pam.d/common-auth") == (
            "# auth\nauth\t[success=2 default=ignore]\tpam_unix.so \n"
            "auth\t[success=1 default=ignore]\tpam_other.so use_first\nauth\trequisite\tpam_deny.so\n# end\n"
        )
        # Without a module in the first block all would be refused, and what is for people alone is left out.
        assert text_of(installed, "etc/pam.d/common-session-noninteractive") == (
            "session\t[default=1]\t\t\tpam_permit.so\n"
        )
        assert text_of(installed, "var/lib/pam/seen") == "unix\nother\noff\n"


class TestShells:
    def test_shells_of_packages_are_added_by_each_of_their_names(self, make: Make) -> None:
        shells = {
            "usr/share/debianutils/shells": b"# shells\n/bin/sh\n",
            "usr/share/debianutils/shells.d/x": b"/bin/x\n",
        }
        installed = put(make("a", {"bin/x": b"#!x", **shells}))
        assert text_of(installed, "etc/shells") == "# shells\n/bin/sh\n/usr/bin/sh\n/bin/x\n/usr/bin/x\n"


def test_excluded_files_are_in_no_list(make: Make) -> None:
    deb = make(
        "a",
        {"usr/share/doc/": b"", "usr/share/doc/a": b"doc", "usr/x": b"x", "usr/y": b"=> ./usr/share/doc/a"},
        md5sums="11111111111111111111111111111111  usr/share/doc/a\n22222222222222222222222222222222  usr/x\n",
    )
    installed = install(
        [deb],
        Base({"usr/bin/dpkg": b"#!"}),
        architecture="amd64",
        reasons={},
        is_excluded=lambda path, is_folder: path == "usr/share/doc",
    )
    assert text_of(installed, "var/lib/dpkg/info/a.list") == "/.\n/usr/x\n/usr/y\n"
    assert text_of(installed, "var/lib/dpkg/info/a.md5sums") == "22222222222222222222222222222222  usr/x\n"
    # A hardlink to what is left out is the file itself.
    assert text_of(installed, "usr/y") == "doc"


class TestDatabase:
    def test_without_dpkg_each_package_is_a_file(self, make: Make) -> None:
        installed = put(make("a", {"usr/x": b"x"}, md5sums="9dd4e461268c8034f5c8564e155c67a6  usr/x\n"))
        assert text_of(installed, "var/lib/dpkg/status.d/a").startswith("Package: a\nVersion: 1\n")
        assert text_of(installed, "var/lib/dpkg/status.d/a.md5sums").endswith("  usr/x\n")

    def test_a_database_without_its_dpkg_goes_on_too(self, make: Make) -> None:
        status = b"Package: old\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
        installed = put(make("a"), base=Base({"var/lib/dpkg/status": status}))
        assert "Package: a\n" in text_of(installed, "var/lib/dpkg/status")
        assert "var/lib/dpkg/status.d/a" not in by_path(installed)

    def test_with_dpkg_its_database_goes_on(self, make: Make) -> None:
        status = b"Package: old\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
        base = Base({"usr/bin/dpkg": b"#!x", "var/lib/dpkg/status": status})
        deb = make(
            "a",
            {"etc/": b"", "etc/a.conf": b"conf\n", "usr/lib/liba.so": b"so"},
            control="Multi-Arch: same\n",
            conffiles="/etc/a.conf\n",
            postinst="#!/bin/sh\n",
            triggers="interest-noawait /usr/lib\nactivate-noawait ldconfig\ninterest menu\n",
        )
        installed = put(deb, base=base)
        shown = text_of(installed, "var/lib/dpkg/status")
        assert shown.startswith(status.decode())
        assert "\n\nPackage: a\nStatus: install ok installed\nVersion: 1\n" in shown
        assert (
            "Conffiles:\n /etc/a.conf cbc5d5cde2cb9e5e6ca0b3f07be0aa7a" in shown or "Conffiles:\n /etc/a.conf " in shown
        )
        assert text_of(installed, "var/lib/dpkg/info/a:amd64.list").splitlines() == [
            "/.",
            "/etc",
            "/etc/a.conf",
            "/usr/lib/liba.so",
        ]
        assert by_path(installed)["var/lib/dpkg/info/a:amd64.postinst"].mode == 0o755
        assert text_of(installed, "var/lib/dpkg/triggers/File") == "/usr/lib a:amd64/noawait\n"
        assert text_of(installed, "var/lib/dpkg/triggers/menu") == "a:amd64\n"


class TestNewerVersions:
    """dpkg(1), "--install": "If another version of the same package was installed before ... the old files" go."""

    BASE: ClassVar = {
        "usr/bin/dpkg": b"#!x",
        "usr/bin/a": b"#!old",
        "usr/lib/liba.so.1": b"old",
        "usr/share/both": b"b",
        "etc/a.conf": b"mine",
        "var/lib/dpkg/status": b"Package: a\nStatus: install ok installed\nVersion: 0\nArchitecture: amd64\n"
        b"Conffiles:\n /etc/a.conf 11111111111111111111111111111111\nDescription: a\n\n"
        b"Package: b\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDescription: b\n",
        "var/lib/dpkg/info/a.list": b"/.\n/usr\n/usr/bin/a\n/usr/lib/liba.so.1\n/usr/share/both\n/etc/a.conf\n",
        "var/lib/dpkg/info/a.postrm": b"#!/bin/sh\n",
        "var/lib/dpkg/info/b.list": b"/.\n/usr/share/both\n",
    }

    def test_what_the_new_one_does_not_have_goes(self, make: Make) -> None:
        installed = put(make("a", {"usr/bin/a": b"#!new", "usr/lib/liba.so.2": b"new"}), base=Base(self.BASE))
        gone = {entry.hides for entry in installed.entries if entry.type is EntryType.WHITEOUT}
        # Not what another package has as well, nor what a person may have changed.
        assert gone == {"usr/lib/liba.so.1", "var/lib/dpkg/info/a.postrm"}
        assert text_of(installed, "usr/bin/a") == "#!new"
        assert installed.warnings == ()

    def test_the_database_knows_the_new_one_alone(self, make: Make) -> None:
        installed = put(make("a", {"usr/bin/a": b"#!new"}), base=Base(self.BASE))
        status = text_of(installed, "var/lib/dpkg/status")
        assert re.findall(r"^(?:Package|Version): (.*)$", status, re.MULTILINE) == ["b", "1", "a", "1"]
        assert text_of(installed, "var/lib/dpkg/info/a.list") == "/.\n/usr/bin/a\n"

    def test_without_dpkg_too(self, make: Make) -> None:
        base = {
            "usr/bin/a": b"#!old",
            "usr/old": b"old",
            "var/lib/dpkg/status.d/a": b"Package: a\nVersion: 0\nArchitecture: amd64\n",
            "var/lib/dpkg/status.d/a.md5sums": b"1" * 32 + b"  usr/bin/a\n" + b"2" * 32 + b"  usr/old\n",
        }
        installed = put(make("a", {"usr/bin/a": b"#!new"}), base=Base(base))
        assert {entry.hides for entry in installed.entries if entry.type is EntryType.WHITEOUT} == {
            "usr/old",
            "var/lib/dpkg/status.d/a.md5sums",
        }
        assert "Version: 1\n" in text_of(installed, "var/lib/dpkg/status.d/a")

    def test_where_nobody_knows_what_the_old_one_had_that_is_told(self, make: Make) -> None:
        status = b"Package: a\nStatus: install ok installed\nVersion: 0\n"
        installed = put(make("a"), base=Base({"usr/bin/dpkg": b"#!", "var/lib/dpkg/status": status}))
        assert installed.warnings == ("package a of the base is replaced by a newer one, and what it had stays",)


# Where an installed system differs, and why that is right.
_DIFFERENCES: Final = {
    r"dev/.*": "engines make these when a container starts",
    r"etc/(?:resolv\.conf|hostname|fstab)": "of the machine that mmdebstrap ran on",
    r"etc/apt/(?:sources\.list|sources\.list\.d|preferences\.d)|var/(?:cache|log|lib)/apt(?:/.*)?": "of apt",
    r"var/cache/debconf/.*": "questions that nobody was asked",
    r".*/__pycache__(?:/.*)?|var/lib/python(?:/.*)?": "byte code, with the times of the machine in it",
    r"etc/rc.\.d/.*|etc/systemd/.*|var/lib/systemd/.*": "services that are started: an image names its own",
    r"usr/share/info/dir": "a table of contents that install-info makes",
    r"usr/local/share/ca-certificates": "an empty folder for a person's certificates",
    r"etc/ca-certificates\.conf": "the same names, without the explanation that debconf puts above them",
    r"etc/shells": "the same lines in another order: packages are not configured one by one (see below)",
    r"etc/ld\.so\.cache": "the same libraries (see below), without the name of the ldconfig that wrote it",
    r"var/lib/dpkg/status": "the same packages and versions (see below), their fields as the packages have them",
    r"var/lib/dpkg/diversions": "dash diverts /bin/sh to itself, for the sake of older versions",
    r"var/lib/dpkg/(?:available|statoverride)": "empty files, which dpkg makes when it needs them",
    r"var/lib/dpkg/(?:arch|lock|lock-frontend|.*-old)": "of dpkg at work",
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("debian")
    theirs, ours = folder / "theirs", folder / "ours"
    wanted = "--include=python3-minimal,ca-certificates,openssl,libpq5"
    keep = '--customize-hook=cp -r "$1"/var/cache/apt/archives ' + str(folder / "debs")
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=essential",
            "--skip=essential/unlink,cleanup/apt",
            wanted,
            keep,
            "bookworm",
            theirs,
        ],
        check=True,
        capture_output=True,
    )
    debs = [open_deb(path, folder / "spool") for path in sorted((folder / "debs").glob("*.deb"))]
    installed = install(debs, Base(), architecture="amd64", reasons={})
    with (folder / "ours.tar").open("wb") as file:
        write_layer(installed.entries, file, compression=Compression.NONE)
    ours.mkdir()
    subprocess.run(["tar", "-xpf", folder / "ours.tar", "--numeric-owner", "-C", ours], check=True)
    return theirs, ours


@pytest.mark.engine
@pytest.mark.mirror
@pytest.mark.timeout(400)
class TestDebian:
    """The same packages by mmdebstrap, which runs everything, and by us, who run nothing."""

    def test_files_owners_modes_and_links_are_the_same(self, roots: tuple[Path, Path]) -> None:
        theirs, ours = (self.read(root) for root in roots)
        different = {
            path: (theirs.get(path), ours.get(path))
            for path in theirs.keys() | ours.keys()
            if theirs.get(path) != ours.get(path) and not any(re.fullmatch(each, path) for each in _DIFFERENCES)
        }
        assert different == {}
        shells = [sorted((root / "etc/shells").read_text().splitlines()) for root in roots]
        assert shells[0] == shells[1]

    def test_its_tools_find_nothing_amiss(self, roots: tuple[Path, Path]) -> None:
        def run(*command: str) -> str:
            done = subprocess.run(
                ["/usr/sbin/chroot", roots[1], *command],
                capture_output=True,
                text=True,
                check=True,
                env={"PATH": "/usr/bin:/usr/sbin"},
            )
            return done.stdout

        assert run("dpkg", "--audit") == ""
        assert run("dpkg", "--verify") == ""
        theirs = subprocess.run(
            ["/usr/sbin/chroot", roots[0], "dpkg-query", "-W"],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": "/usr/bin"},
        )
        assert run("dpkg-query", "-W") == theirs.stdout
        before = run("ldconfig", "-p").splitlines()[1:]
        run("ldconfig")
        assert [line for line in run("ldconfig", "-p").splitlines()[1:] if "=>" in line] == before
        assert int(run("python3", "-c", "import sys; print(sys.version_info.major)")) == 3
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        certificate = min((roots[1] / "usr/share/ca-certificates/mozilla").glob("*.crt"))
        shutil.copy(certificate, roots[1] / "root/one.crt")
        assert run("openssl", "verify", "-CApath", "/etc/ssl/certs", "/root/one.crt").strip().endswith("OK")
        assert run("openssl", "verify", "-CAfile", bundle, "/root/one.crt").strip().endswith("OK")

    # Not whether files are hardlinks: usrmerge makes two files of them, a package that ships them so is one with us.
    @staticmethod
    def read(root: Path) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in root.rglob("*"):
            status = path.lstat()
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[name] = ("symlink", status.st_uid, status.st_gid, str(path.readlink()))
            elif path.is_dir():
                found[name] = ("directory", status.st_mode, status.st_uid, status.st_gid)
            elif path.is_file():
                found[name] = ("file", status.st_mode, status.st_uid, status.st_gid, path.read_bytes())
        return found
