"""Users: the names that own files, and the lines that a spec adds to /etc/passwd and /etc/group."""

import pytest

from layerkit.build.accounts import Accounts, add_member, add_user
from layerkit.document.problem import InvalidValue, Position
from layerkit.spec.model import Attributes, User

PASSWD = b"root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
GROUP = b"root:x:0:\nwww-data:x:33:\nadm:x:4:root\nssl:x:110:\n"
KNOWN = Accounts.parse(PASSWD, GROUP)


def user(name: str = "app", uid: int = 10001, gid: int = 10001, group: str = "", **fields: object) -> User:
    return User(name=name, uid=uid, gid=gid, group=group or name, position=Position("x"), **fields)  # type: ignore[arg-type]


def refuse(one: User, passwd: bytes = PASSWD, group: bytes = GROUP) -> str:
    with pytest.raises(InvalidValue) as caught:
        add_member(add_user(passwd, group, one)[1], one)
    return f"{caught.value.message}; {caught.value.hint}"


class TestOwners:
    @pytest.mark.parametrize(
        ("attributes", "owner"),
        [
            (Attributes(), (0, 0)),
            (Attributes(user=7), (7, 7)),
            (Attributes(user=7, group=8), (7, 8)),
            (Attributes(user="www-data"), (33, 33)),
            (Attributes(user="www-data", group="adm"), (33, 4)),
            (Attributes(user="www-data", group=5), (33, 5)),
            (Attributes(user=7, group="ssl"), (7, 110)),
        ],
    )
    def test_a_group_that_nobody_names_is_that_of_the_user(
        self, attributes: Attributes, owner: tuple[int, int]
    ) -> None:
        assert KNOWN.resolve(attributes) == owner

    def test_the_primary_group_counts_where_it_is_not_of_the_same_number(self) -> None:
        accounts = Accounts.parse(b"daemon:x:2:9::/:/bin/sh\n", b"")
        assert accounts.resolve(Attributes(user="daemon")) == (2, 9)

    def test_users_of_the_spec_are_known_and_win(self) -> None:
        accounts = KNOWN.with_users([user(gid=4, group="adm"), user("www-data", 500, 501)])
        assert accounts.resolve(Attributes(user="app")) == (10001, 4)
        assert accounts.resolve(Attributes(user="www-data", group="www-data")) == (500, 501)

    def test_a_name_that_nobody_has_is_refused_with_one_that_may_be_meant(self) -> None:
        with pytest.raises(InvalidValue) as caught:
            KNOWN.resolve(Attributes(user="ww-data"))
        assert caught.value.message == "no user of the image or of `users:` is named 'ww-data'"
        assert caught.value.hint == "did you mean 'www-data'?"
        with pytest.raises(InvalidValue, match="no group of the image"):
            KNOWN.resolve(Attributes(group="wheel"))

    def test_of_two_lines_of_one_name_the_first_counts(self) -> None:
        """As getpwnam(3) finds it."""
        accounts = Accounts.parse(b"a:x:1:1::/:/\na:x:2:2::/:/\n", b"g:x:5:\ng:x:6:\n")
        assert accounts.resolve(Attributes(user="a", group="g")) == (1, 5)


class TestAdding:
    def test_lines_are_added_and_the_rest_stays(self) -> None:
        one = user(home="/srv/app", shell="/bin/sh", groups=("adm", "ssl"))
        passwd, group = add_user(PASSWD, GROUP, one)
        assert passwd == PASSWD + b"app:x:10001:10001::/srv/app:/bin/sh\n"
        assert group == GROUP + b"app:x:10001:\n"
        assert add_member(group, one) == (b"root:x:0:\nwww-data:x:33:\nadm:x:4:root,app\nssl:x:110:app\napp:x:10001:\n")

    def test_where_there_is_nothing_files_begin(self) -> None:
        assert add_user(b"", b"", user()) == (b"app:x:10001:10001::/:/usr/sbin/nologin\n", b"app:x:10001:\n")

    def test_a_last_line_without_its_end_gets_one(self) -> None:
        passwd, group = add_user(PASSWD[:-1], GROUP[:-1], user())
        assert passwd.startswith(PASSWD)
        assert group.startswith(GROUP)

    def test_what_is_there_already_is_not_added(self) -> None:
        again = add_user(*add_user(PASSWD, GROUP, user()), user())
        assert again == add_user(PASSWD, GROUP, user())

    def test_a_group_of_the_image_may_be_the_primary_one(self) -> None:
        passwd, group = add_user(PASSWD, GROUP, user(gid=33, group="www-data"))
        assert passwd.endswith(b"app:x:10001:33::/:/usr/sbin/nologin\n")
        assert group == GROUP

    def test_lines_that_nobody_understands_stay(self) -> None:
        """NIS: passwd(5), "+@netgroup"; and bytes that are no UTF-8."""
        odd = b"+::::::\n# comment\nold:x:1:1:M\xfcller:/:/bin/sh\n\nshort:x:5\n"
        passwd, group = add_user(odd, b"+:::\n\xff:x:1:\n", user())
        assert passwd == odd + b"app:x:10001:10001::/:/usr/sbin/nologin\n"
        assert add_member(group, user(groups=("app",))).startswith(b"+:::\n\xff:x:1:\n")

    @pytest.mark.parametrize(
        ("one", "message"),
        [
            (user("www-data", 5), "user 'www-data' is in the image's /etc/passwd, as 33:33 with the home '/var/www'"),
            (user(uid=33), "user 'app': the image's user 'www-data' has the uid 33; choose another uid"),
            (user(gid=33), "user 'app': the gid 33 is that of the image's group 'www-data'; write `group: www-data`"),
            (user(group="adm"), "user 'app': the image's group 'adm' has the gid 4, not 10001; write `gid: 4`"),
            (user(groups=("amd",)), "user 'app': no group of the image or of `users:` is named 'amd'; did you mean"),
        ],
        ids=["name", "uid", "gid", "group", "further group"],
    )
    def test_what_is_taken_is_refused(self, one: User, message: str) -> None:
        assert refuse(one).startswith(message)
