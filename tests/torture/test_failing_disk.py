"""A disk that fails at every single call: nothing acknowledged is lost, and the journal says so.

A full disk refuses and goes on once there is room. Any other error on writing ends the journal,
because what Linux could not sync may be gone; it starts again from the disk.
"""

import errno
import json
import random

import pytest

from simulator.disk import Cut

FOR_EVER = 100_000
FULL = pytest.param(errno.ENOSPC, FOR_EVER, marks=pytest.mark.torture)
pytestmark = pytest.mark.timeout(120)


def failed(recorder, part: str, error: int, times: int):
    """What happened at each call of a part, and the recording of all of it."""
    key, files = recorder.new(f"{part}-{error}-{times}")
    recorder.begin(files)
    done = recorder.run("failing.py", part, error, times)
    assert done.returncode == (-9 if part == "killed" else 0)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return found, recorder.recording(key, files)


def assert_kept(recorder, recording, cuts: int = 5) -> None:
    """After a failed sync the kernel may drop what it could not write: so power cuts, too."""
    rng = random.Random(3)
    for _ in range(cuts):
        cut = Cut(steps=rng.randint(0, len(recording.steps)), seed=rng.randrange(2**32))
        one = recorder.outcome(recording, cut)
        assert (one.lost, one.refusal) == (0, "")


@pytest.mark.parametrize(
    ("error", "times", "on_write", "on_sync"),
    [
        (errno.EIO, 1, "ended", "ended"),
        (errno.ENOSPC, FOR_EVER, "full", "ended"),
        # A part was written, and the rest goes in after it.
        pytest.param(errno.ENOSPC, 1, "written", "ended", marks=pytest.mark.torture),
        (errno.EINTR, 1, "written", "ended"),
    ],
)
def test_an_error_at_any_call_of_a_commit_is_told_and_loses_nothing(
    recorder, error: int, times: int, on_write: str, on_sync: str
) -> None:
    found, recording = failed(recorder, "commit", error, times)
    assert {one["hit"][0] for one in found} == {"W", "S"}
    for one in found:
        expected = on_write if one["hit"][0] == "W" else on_sync
        assert one["first"].partition(":")[0] == expected, one
        assert one["has_ended"] is (expected == "ended"), one
        assert one["second"].partition(":")[0] == ("ended" if one["has_ended"] else "written"), one
        assert (one["lost"], one["again"]) == (0, "written"), one
    assert_kept(recorder, recording)


@pytest.mark.parametrize(("error", "times"), [(errno.EIO, 1), FULL])
def test_an_error_while_the_log_is_carried_over_ends_the_journal_but_not_for_want_of_room(
    recorder, error: int, times: int
) -> None:
    found, recording = failed(recorder, "carry_over", error, times)
    after = [one for one in found if one["first"] == "written"]
    assert {one["hit"][0] for one in after} == {"W", "S", "T"}
    for one in after:
        is_harmless = error == errno.ENOSPC and one["hit"][0] == "W"
        assert one["second"].partition(":")[0] == ("written" if is_harmless else "ended"), one
    for one in found:
        assert (one["lost"], one["again"]) == (0, "written"), one
    assert_kept(recorder, recording)


@pytest.mark.parametrize("part", [pytest.param("creation", marks=pytest.mark.torture), "start"])
@pytest.mark.parametrize(("error", "times"), [(errno.EIO, 1), FULL])
def test_a_journal_that_cannot_be_written_at_the_start_is_not_opened(
    recorder, part: str, error: int, times: int
) -> None:
    found, recording = failed(recorder, part, error, times)
    folder_syncs = [one for one in found if one["hit"][0] == "D"]
    assert any(one["first"].startswith("not opened") for one in folder_syncs)
    for one in found:
        if one not in folder_syncs:  # SQLite overlooks its own
            assert one["first"].startswith("not opened: The journal"), one
        assert (one["lost"], one["again"]) == (0, "written"), one
    if part == "start":
        assert_kept(recorder, recording)


@pytest.mark.parametrize(("error", "times"), [(errno.EIO, 1), FULL])
def test_an_error_at_the_stop_costs_no_more_than_the_word_that_it_was_clean(
    recorder, error: int, times: int
) -> None:
    found, recording = failed(recorder, "stop", error, times)
    assert all((one["lost"], one["again"]) == (0, "written") for one in found)
    assert_kept(recorder, recording)


def test_what_a_failed_sync_left_in_memory_is_not_built_upon_after_a_kill(recorder) -> None:
    (one,), recording = failed(recorder, "killed", errno.EIO, 1)
    assert one["first"].startswith("ended")
    assert recorder.run("writer.py", 7, "as_shipped").returncode == 0
    assert_kept(recorder, recorder.recording(recording.key, recording.before), cuts=12)
