"""Whatever is done to the OCMF records of a bundle, or to their key, is named."""

import stat
from dataclasses import replace

import pytest

from agent.handover.ocmf import ocmf_parts, ocmf_text
from agent.handover.ocmfkey import ocmf_key_file, ocmf_signer
from agent.handover.selection import Wanted
from agent.handover.shape import OCMF_KEY, members_of
from agent.keys import KeyFileError, create_log_key
from agent.settings import JournalSettings
from agent.verify import Keys, verify

WORDS = {
    "changed": "does not say what the records of tx-1 say",
    "resigned": "does not say what the records of tx-1 say",
    "forged": "is not signed by the key",
    "spaced": "not written as it has to be",
    "of another": "the purchase 'tx-9' has no receipt here",
    "dropped": "of tx-1 in ocmf/ is missing",
    "doubled": "there twice",
    "no key": "ocmf/key.note does not hold",
    "foreign key": "signed by none of the known keys",
    "other key": "is not signed by the key",
}


@pytest.fixture(scope="module")
def members(farm) -> dict[str, bytes]:
    return members_of(farm.export(Wanted(transactions=("tx-1",)))[0])


def spoilt(farm, members: dict[str, bytes], how: str, stranger) -> dict[str, bytes]:
    (name,) = (name for name in members if name.endswith(".ocmf"))
    text = members[name].decode()
    payload = ocmf_parts(text)[0]
    own = ocmf_signer(farm.directory / "ocmf.key", farm.key)
    other = ocmf_signer(farm.directory / "other.key", farm.key)

    def signed(changed: str, signer=own) -> dict[str, bytes]:
        return {name: ocmf_text(changed, signer.sign(changed.encode())).encode()}

    change: dict[str, dict[str, bytes | None]] = {
        "changed": {name: text.replace("1009890", "1009891").encode()},
        "resigned": signed(payload.replace("1009890", "1009891")),
        "forged": signed(payload, other),
        "spaced": {name: text.replace('{"SA"', '{ "SA"').encode()},
        "of another": signed(payload.replace('"ID":"tx-1"', '"ID":"tx-9"')),
        "dropped": {name: None},
        "doubled": {"ocmf/x.ocmf": members[name]},
        "no key": {OCMF_KEY: None},
        "foreign key": {OCMF_KEY: ocmf_signer(farm.directory / "s", stranger).key_note.encode()},
        "other key": {OCMF_KEY: other.key_note.encode()},
    }
    changed = {**members, **change[how]}
    return {one: content for one, content in changed.items() if content is not None}


def test_a_record_that_is_as_it_was_is_sound(farm, members) -> None:
    report = verify(farm.zipped(members, resum=True), Keys(device=farm.key.verifier))
    assert report.defects == ()
    assert any("1 OCMF records say what the records say" in one for one in report.remarks)


@pytest.mark.parametrize("how", WORDS)
def test_whatever_is_done_to_a_record_is_named(farm, members, tmp_path, how: str) -> None:
    stranger = create_log_key(tmp_path / "stranger.key", farm.key.origin)
    file = farm.zipped(spoilt(farm, members, how, stranger), resum=True)
    report = verify(file, Keys(device=farm.key.verifier))
    assert any(WORDS[how] in defect.words for defect in report.defects), report.defects


def test_a_bundle_without_any_says_so(farm, members) -> None:
    less = {name: content for name, content in members.items() if not name.startswith("ocmf/")}
    report = verify(farm.zipped(less, resum=True), Keys(device=farm.key.verifier))
    assert report.defects == ()
    assert "No OCMF records are in it." in report.remarks


def test_the_key_is_made_once_for_its_owner_alone(farm, tmp_path) -> None:
    log = create_log_key(tmp_path / "log.key", farm.key.origin)
    path = tmp_path / "ocmf.key"
    made = ocmf_signer(path, log)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ocmf_signer(path, log).key_note == made.key_note
    assert "PRIVATE" not in repr(made)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log.key", "ocmf.key"]
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="open to others"):
        ocmf_signer(path, log)
    path.unlink()
    path.write_bytes((tmp_path / "log.key").read_bytes())
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="another kind of key"):
        ocmf_signer(path, log)
    with pytest.raises(KeyFileError, match="cannot be written"):
        ocmf_signer(tmp_path / "no" / "ocmf.key", log)


def test_where_nobody_may_write_beside_the_log_s_key_it_lies_beside_the_journal(tmp_path) -> None:
    (tmp_path / "state").mkdir()
    settings = JournalSettings(
        path=tmp_path / "state" / "journal.sqlite",
        origin_domain="pool.example",
        key_file=tmp_path / "log.key",
    )
    assert ocmf_key_file(settings) == tmp_path / "ocmf.key"
    absent = replace(settings, key_file=tmp_path / "credentials" / "log.key")
    assert ocmf_key_file(absent) == tmp_path / "state" / "ocmf.key"
