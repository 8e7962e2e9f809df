"""What a maintainer script says is told without running it: functions, loops, variables, quotes."""

import re

import pytest

from layerkit.packages.debian.shell import iter_commands


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        pytest.param("a b 'c d' # e\n\n# f 'g\nh\\\n  i\n", ["a b 'c d'", "h i"], id="words-and-comments"),
        pytest.param("a >/dev/null 2>&1 || b; c && d | e\n", ["a", "b", "c", "d", "e"], id="operators"),
        pytest.param("if [ -x /a ]; then\n  b\nelse c; fi\n", ["[ -x /a ]", "b", "c"], id="both-ways-of-a-condition"),
        pytest.param("case $1 in\n  configure|x) a ;;\n  *) b ;;\nesac\n", ["case configure in", "a", "b"], id="case"),
        pytest.param("x=/a\ny=${x}/b\na $y ${z} '$x'\n", ["a /a/b ${z} /a"], id="variables"),
        pytest.param("x=$(b $1)\na $x\n", ["b configure", "a $x"], id="what-a-command-prints-is-not-known"),
        pytest.param("x=1\nx=$(expr $x - 1)\na $x\n", ["expr 1 - 1", "a 1"], id="what-was-said-before-is-believed"),
        pytest.param("x='1 2'\na $x\nb \"$x\"\n", ["a 1 2", "b '1 2'"], id="words-of-a-variable"),
        pytest.param("x=''\na $x y\nb \"$x\" y\n", ["a y", "b '' y"], id="an-empty-variable"),
        pytest.param("a ${P#b-} c\n", ["a ${P#b-} c"], id="no-comment-in-a-word"),
        pytest.param("a 'b\nc d' e\nf\n", ["a 'b\nc d' e", "f"], id="quotes-over-lines"),
        pytest.param("cat > /x <<EOF\nno 'command\nEOF\na\n", ["cat", "a"], id="here-document"),
        pytest.param('[ "$2" = "" ] && a "$1"\n', ["[ '' = '' ]", "a configure"], id="arguments-of-the-script"),
        pytest.param("f() {\n  a $1 \"$2\"\n}\nf x 'y z'\nf u\n", ["a x 'y z'", "a u ''"], id="functions"),
        pytest.param('f ()\n{\n  if a; then { b; }; fi\n}\ng() { c "$@"; }\ng 1 2\n', ["c 1 2"], id="uncalled"),
        pytest.param("f() { f; }\nf\na\n", ["a"], id="a-function-that-calls-itself"),
        pytest.param(
            "for i in a b; do\n  for j in 1 2\n  do x $i$j\n  done\ndone\ny\n",
            ["x a1", "x a2", "x b1", "x b2", "y"],
            id="loops",
        ),
        pytest.param("l='a b'\nfor i in $l; do x $i; done\n", ["x a", "x b"], id="a-loop-over-a-variable"),
        pytest.param("l=\nfor i in $l; do x $i; done\n", [], id="a-loop-over-nothing"),
        pytest.param("for i in $UNKNOWN; do x $i; done\n", ["x $UNKNOWN"], id="a-loop-over-what-is-not-known"),
        pytest.param("while read l; do a; done < /x\nb\n", ["read l", "a", "b"], id="while"),
    ],
)
def test_the_commands_of_a_script(script: str, commands: list[str]) -> None:
    assert [show(words) for words in iter_commands(script, ("configure", ""))] == commands


def show(words: list[str]) -> str:
    return " ".join(word if re.fullmatch(r"[^\s']+", word) else f"'{word}'" for word in words)


def test_a_quote_that_never_ends_is_one_command() -> None:
    assert list(iter_commands("a 'b\nc\nd\n")) == [["a 'b\nc\nd"]]


def test_a_script_that_multiplies_itself_is_cut_short() -> None:
    script = "".join(f"f{n}() {{ f{n + 1}; f{n + 1}; f{n + 1}; }}\n" for n in range(14)) + "f14() { a; }\nf0\n"
    assert len(list(iter_commands(script))) == 10_000
