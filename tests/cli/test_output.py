"""How sizes, kinds and transfers are shown."""

import pytest

from layerkit.cli.display import format_descriptor, kind_of
from layerkit.cli.output import Output, StepLog
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.progress import Activity, Outcome, Step
from layerkit.sizes import format_size


def descriptor(media_type: str, size: int = 5) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(b"x"), size=size)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1049, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_000_000, "1.0 MB"),
        (34_500_000, "34.5 MB"),
        (999_999_999, "1.0 GB"),
        (2**63 - 1, "9223372.0 TB"),
    ],
)
def test_a_size_has_one_digit_behind_the_point_and_three_before_it(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("application/vnd.oci.image.manifest.v1+json", "manifest"),
        ("application/vnd.oci.image.index.v1+json", "index"),
        ("application/vnd.oci.image.config.v1+json", "config"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "layer"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", "layer"),
        ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "index"),
        ("application/vnd.docker.container.image.v1+json", "config"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "layer"),
        ("application/vnd.cncf.helm.config.v1+json", "config"),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "blob"),
        ("application/vnd.oci.empty.v1+json", "blob"),
    ],
)
def test_what_content_is_is_told_in_a_word(media_type: str, kind: str) -> None:
    assert kind_of(descriptor(media_type)) == kind


def test_a_digest_is_shown_whole() -> None:
    """People copy it."""
    line = format_descriptor(descriptor("application/vnd.oci.image.layer.v1.tar", 1234))
    assert line == f"layer      1.2 kB  {Digest.of(b'x')}"


def test_the_answer_is_on_stdout_and_all_else_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """SPEC, "Command line": "`stdout` carries the answer, `stderr` everything else"."""
    for quiet in (False, True):
        output = Output(quiet=quiet)
        output.note("note")
        output.warn("careful")
        output.answer("answer")
    captured = capsys.readouterr()
    assert captured.out == "answer\nanswer\n"
    assert captured.err == "note\nwarning: careful\n"


def end(log: StepLog, outcome: Outcome, content: Descriptor) -> None:
    step = Step(activity=Activity.COPY, descriptor=content)
    log.begin(step)
    log.advance(step, 1)
    log.end(step, outcome)


def test_a_transfer_is_told_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    log = StepLog(Output(quiet=False), verb="pushed")
    layer = descriptor("application/vnd.oci.image.layer.v1.tar", 1000)
    for outcome in (Outcome.COPIED, Outcome.COPIED, Outcome.MOUNTED, Outcome.PRESENT):
        end(log, outcome, layer)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["pushed", "pushed", "mounted", "present"]
    assert {line.split()[-1] for line in lines} == {layer.digest}
    assert log.summary() == "2 pushed (2.0 kB), 1 present, 1 mounted"


def test_a_transfer_of_nothing_new_counts_no_bytes() -> None:
    log = StepLog(Output(quiet=True), verb="pushed")
    end(log, Outcome.PRESENT, descriptor("application/vnd.oci.image.manifest.v1+json"))
    assert log.summary() == "1 present"


def test_of_what_failed_the_error_tells_and_the_log_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    log = StepLog(Output(quiet=False), verb="pushed")
    for outcome in (Outcome.FAILED, Outcome.CANCELLED):
        end(log, outcome, descriptor("application/vnd.oci.image.layer.v1.tar"))
    assert capsys.readouterr().err == log.summary() == ""
