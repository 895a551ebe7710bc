"""Whatever is done to a bundle is named, by the file that lies in it and by ``kwota verify``."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.handover.selection import Wanted
from agent.handover.shape import (
    CHECKPOINT,
    COSIGNED,
    GROWTH,
    KEYS,
    PROOFS,
    README,
    RECORDS,
    SUMS,
    VERIFIER,
    members_of,
)
from agent.keys import create_log_key
from agent.logfile import LogError
from agent.verify import Keys, verify

Lines = list[bytes]
BOTH = (RECORDS, PROOFS)


@pytest.fixture(scope="module")
def bundle(farm) -> Path:
    """A selection that one checkpoint with both signatures proves."""
    file, exported = farm.export(Wanted(transactions=("tx-1",)))
    assert exported.is_cosigned
    return file


@pytest.fixture(scope="module")
def whole(farm) -> Path:
    """Everything, of which the pool has not cosigned the newest records."""
    file, exported = farm.export(Wanted())
    assert not exported.is_cosigned
    return file


@pytest.fixture(scope="module")
def script(farm, bundle) -> Path:
    """The verifier as it lies in a bundle."""
    path = farm.directory / "verify.py"
    path.write_bytes(members_of(bundle)[VERIFIER])
    return path


def judged(farm, stranger, script: Path, *files: Path) -> list[list[tuple[int | None, str]]]:
    """The faults of each bundle, on which both verifiers agree."""
    keys = Keys(device=farm.key.verifier, pool=farm.pool)
    verdicts = stranger.run(script, *([str(file), *farm.keys] for file in files))
    found = []
    for file, (code, verdict) in zip(files, verdicts, strict=True):
        faults = [(fault["index"], fault["words"]) for fault in verdict["faults"]]
        report = verify(file, keys)
        assert faults == [(defect.index, defect.words) for defect in report.defects]
        assert code == (1 if faults else 0)
        found.append(faults)
    return found


def test_an_untouched_bundle_is_sound_for_both(farm, stranger, script, bundle, whole) -> None:
    assert judged(farm, stranger, script, bundle, whole) == [[], []]
    report = verify(bundle, Keys(device=farm.key.verifier, pool=farm.pool))
    assert (report.origin, report.boots) == (farm.key.origin, 2)
    assert report.cosigned_at_s is not None
    assert "The receipt of tx-1 says what the records say." in report.remarks


def test_of_a_whole_log_it_says_up_to_where_the_pool_had_it(farm, whole) -> None:
    report = verify(whole, Keys(device=farm.key.verifier, pool=farm.pool))
    assert report.size - 3 == report.cosigned_size
    assert (
        f"The pool has cosigned the log up to record {report.cosigned_size - 1}." in report.remarks
    )


def test_an_unpacked_bundle_is_checked_like_the_zip(farm, bundle, tmp_path) -> None:
    for name, content in members_of(bundle).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    keys = Keys(device=farm.key.verifier, pool=farm.pool)
    assert verify(tmp_path, keys) == verify(bundle, keys)
    (tmp_path / PROOFS).unlink()
    assert not verify(tmp_path, keys).is_sound


def dropped(lines: Lines, at: int) -> Lines:
    return lines[:at] + lines[at + 1 :]


def doubled(lines: Lines, at: int) -> Lines:
    return lines[: at + 1] + lines[at:]


def swapped(lines: Lines, at: int) -> Lines:
    at = min(at, len(lines) - 2)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def altered(lines: Lines, at: int) -> Lines:
    return [*lines[:at], lines[at].replace(b'"d":{', b'"d":{"x":1,'), *lines[at + 1 :]]


def broken(lines: Lines, at: int) -> Lines:
    return [*lines[:at], b"[" + lines[at][1:], *lines[at + 1 :]]


@pytest.mark.parametrize("change", [dropped, doubled, swapped, altered, broken])
def test_each_record_that_is_touched_is_named(
    farm, stranger, script, bundle, change: Callable[[Lines, int], Lines]
) -> None:
    members = members_of(bundle)
    lines = members[RECORDS].splitlines(keepends=True)
    indices = [json.loads(line)["i"] for line in lines]
    files = [
        farm.zipped({**members, RECORDS: b"".join(change(lines, at))}, resum=at % 2 == 0)
        for at in range(len(lines))
    ]
    for at, faults in enumerate(judged(farm, stranger, script, *files)):
        index = indices[min(at, len(lines) - 2)] if change is swapped else indices[at]
        assert index in {pinned for pinned, _ in faults}
        assert any(f"ecord {index} " in words or f"ecord {index}," in words for _, words in faults)
        assert all(words.startswith("The file") for pinned, words in faults if pinned is None)


def test_a_record_of_another_place_is_not_proven_there(farm, stranger, script, bundle) -> None:
    """Two records that change their numbers and their proofs with each other."""
    members = members_of(bundle)
    proofs = members[PROOFS].splitlines(keepends=True)
    first, second = (json.loads(line) for line in proofs[3:5])
    proofs[3] = (
        members[PROOFS]
        .splitlines(keepends=True)[4]
        .replace(b'{"i":%d,' % second["i"], b'{"i":%d,' % first["i"])
    )
    file = farm.zipped({**members, PROOFS: b"".join(proofs)}, resum=True)
    (faults,) = judged(farm, stranger, script, file)
    assert {pinned for pinned, _ in faults} == {first["i"]}


def flips(content: bytes, count: int) -> Iterator[bytes]:
    step = max(len(content) // count, 1)
    for at in range(0, len(content), step):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("source", ["bundle", "whole"])
def test_a_flipped_byte_in_any_file_names_the_file(farm, stranger, script, request, source) -> None:
    members = members_of(request.getfixturevalue(source))
    names = [(name, new) for name in members for new in flips(members[name], 10)]
    files = [farm.zipped({**members, name: new}) for name, new in names]
    for (name, _), faults in zip(names, judged(farm, stranger, script, *files), strict=True):
        assert any(name in words or "is listed in SHA256SUMS" in words for _, words in faults)


@pytest.mark.parametrize("name", [CHECKPOINT, COSIGNED, GROWTH, PROOFS, RECORDS])
def test_a_flipped_byte_is_found_although_the_sums_were_written_anew(
    farm, stranger, script, whole, name: str
) -> None:
    members = members_of(whole)
    changed = list(flips(members[name], 30))
    files = [farm.zipped({**members, name: new}, resum=True) for new in changed]
    for faults in judged(farm, stranger, script, *files):
        assert faults
        assert not any("SHA256SUMS" in words for _, words in faults)


def test_a_flipped_byte_of_a_key_is_found_although_the_sums_were_written_anew(
    farm, stranger, script, whole
) -> None:
    """Not so one of the range beside it, which only the pool's register vouches for."""
    members = members_of(whole)
    changed = [
        new for new in flips(members[KEYS], 1000) if not re.search(rb"^1 - ", new, re.MULTILINE)
    ]
    files = [farm.zipped({**members, KEYS: new}, resum=True) for new in changed]
    assert len(files) > len(members[KEYS]) - 5
    assert all(judged(farm, stranger, script, *files))


@pytest.mark.parametrize("name", [PROOFS, GROWTH])
def test_proofs_are_written_in_one_way_only(farm, stranger, script, whole, name: str) -> None:
    """What says the same in other bytes could hide something from who reads the bytes."""
    members = members_of(whole)
    spaced = members[name].replace(b'"proof":[', b'"proof": [', 1)
    (faults,) = judged(farm, stranger, script, farm.zipped({**members, name: spaced}, resum=True))
    assert "written as it has to be" in faults[0][1]


def test_a_receipt_that_says_something_else_is_found_with_new_sums(
    farm, stranger, script, bundle
) -> None:
    members = members_of(bundle)
    stems = [name for name in members if name.startswith("receipts/")]
    assert len(stems) == 2
    changed = [
        {**members, name: members[name].replace(b"9900", b"9800").replace(b"9.900", b"9.800")}
        for name in stems
    ]
    gone = [{n: c for n, c in members.items() if n != name} for name in stems]
    files = [farm.zipped(content, resum=True) for content in (*changed, *gone)]
    for name, faults in zip((*stems, *stems), judged(farm, stranger, script, *files), strict=True):
        assert any(name.rpartition(".")[0] in words for _, words in faults)


def test_each_file_that_is_missing_or_added_is_named(farm, stranger, script, whole) -> None:
    members = members_of(whole)
    fixed = [RECORDS, PROOFS, SUMS, CHECKPOINT, KEYS, README, COSIGNED, GROWTH]
    less = [{n: c for n, c in members.items() if n != name} for name in fixed]
    files = [farm.zipped(content) for content in less]
    files.append(farm.zipped({**members, "extra.txt": b"x"}, resum=True))
    for name, faults in zip(
        [*fixed, "extra.txt"], judged(farm, stranger, script, *files), strict=True
    ):
        assert any(name in words for _, words in faults)


def test_a_bundle_by_another_key_is_not_believed(farm, stranger, script, bundle, tmp_path) -> None:
    """The whole bundle is sound in itself; only the key of the register tells."""
    other = create_log_key(tmp_path / "log.key", farm.key.origin)
    (tmp_path / "log.vkey").write_text(other.verifier.text)
    ((code, verdict),) = stranger.run(script, [str(bundle), "--key", str(tmp_path / "log.vkey")])
    assert code == 1
    assert any("does not name the key of the log" in fault["words"] for fault in verdict["faults"])
    ((code, verdict),) = stranger.run(script, [str(bundle)])
    assert code == 0
    assert any("compare its fingerprint" in remark for remark in verdict["remarks"])


def test_a_key_is_good_only_for_its_range_of_sizes(farm, stranger, script, bundle) -> None:
    members = members_of(bundle)
    text = members[KEYS].decode()
    files = [
        farm.zipped({**members, KEYS: text.replace("0 - ", span).encode()}, resum=True)
        for span in ("0 5 ", "9000 - ", "0 9000 ")
    ]
    short, late, fine = judged(farm, stranger, script, *files)
    assert "which is good for sizes 0 to 5 only" in short[0][1]
    assert "which is good for sizes 9000 and on only" in late[0][1]
    assert fine == []


def test_what_is_no_bundle_is_refused_in_one_sentence(farm, stranger, script, bundle) -> None:
    raw = bundle.read_bytes()
    files = [farm.directory / f"cut-{n}.zip" for n in range(3)]
    files[0].write_bytes(raw[: len(raw) // 2])
    files[1].write_bytes(b"")
    for code, verdict in stranger.run(script, *([str(file)] for file in files)):
        assert (code, verdict) == (2, None)
    for file in files:
        with pytest.raises(LogError):
            verify(file, Keys())


def test_a_flipped_byte_of_the_zip_itself_never_ends_in_a_crash(
    farm, stranger, script, bundle
) -> None:
    files = []
    for number, content in enumerate(flips(bundle.read_bytes(), 120)):
        files.append(farm.directory / f"flip-{number}.zip")
        files[-1].write_bytes(content)
    for code, verdict in stranger.run(script, *([str(file), *farm.keys] for file in files)):
        assert code in (0, 1, 2), verdict
