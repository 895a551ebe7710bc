"""A device's keys as the witness follows them: only what the keys before have signed counts."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.device_log import DeviceLog, RejectError, parse_message, recorded
from simulator.signed_note import parse_vkey


class Changing:
    """A device's log with records about keys, and checkpoints by whichever keys a test names."""

    def __init__(self, device) -> None:
        self.device = device
        self.old, self.new = device.private, Ed25519PrivateKey.generate()
        self.log = DeviceLog(vkey=parse_vkey(self.vkey(self.old)))

    def vkey(self, private: Ed25519PrivateKey) -> str:
        self.device.private = private
        return str(self.device.vkey())

    def say(self, event: str, private: Ed25519PrivateKey) -> None:
        data = {"event": event, "vkey": self.vkey(private), "previous": ""}
        index = len(self.device.records)
        self.device.records.append(
            json.dumps({"v": 1, "i": index, "k": "key", "d": data}, separators=(",", ":")).encode()
        )

    def send(self, *signers: Ed25519PrivateKey) -> None:
        """All that the witness has not got, in one message under one checkpoint."""
        size, lines = len(self.device.records), []
        for private in signers:
            self.device.private = private
            note = self.device.checkpoint(size)
            text, _, signatures = note.rpartition("\n\n")
            lines.append(signatures)
        note = text + "\n\n" + "".join(lines)
        self.log.take(parse_message(self.device.message(self.log.size, size, note=note)))

    @property
    def expected(self) -> list[str]:
        return [key.text() for key in self.log.keys.at(self.log.size)]


@pytest.fixture
def changing(device) -> Changing:
    made = Changing(device)
    device.write(2)
    made.send(made.old)
    return made


def test_a_key_counts_when_the_one_before_it_has_signed_with_it(changing: Changing) -> None:
    old, new = changing.vkey(changing.old), changing.vkey(changing.new)
    changing.say("added", changing.new)
    changing.send(changing.old, changing.new)
    assert changing.expected == [old, new]
    changing.say("retired", changing.old)
    changing.send(changing.new)
    assert changing.expected == [new]
    again = recorded(changing.log.records, changing.log.vkey)
    assert again.keys == changing.log.keys


@pytest.mark.parametrize("signer", ["old", "new"])
def test_a_key_that_only_one_side_has_signed_for_is_refused(
    changing: Changing, signer: str
) -> None:
    changing.say("added", changing.new)
    with pytest.raises(RejectError) as caught:
        changing.send(getattr(changing, signer))
    assert caught.value.reason == "signature"
    assert changing.expected == [changing.vkey(changing.old)]
    changing.send(changing.old, changing.new)
    assert changing.log.size == 3


def test_a_key_cannot_come_and_retire_the_other_under_one_checkpoint(changing: Changing) -> None:
    changing.say("added", changing.new)
    changing.say("retired", changing.old)
    for signers in ((changing.new,), (changing.old,), (changing.old, changing.new)):
        with pytest.raises(RejectError) as caught:
            changing.send(*signers)
        assert caught.value.reason == "signature"


def test_a_younger_key_is_not_retired_by_an_older_one(changing: Changing) -> None:
    changing.say("added", changing.new)
    changing.send(changing.old, changing.new)
    changing.say("retired", changing.new)
    with pytest.raises(RejectError):
        changing.send(changing.old, changing.new)


def test_a_retired_key_signs_nothing_any_more(changing: Changing) -> None:
    changing.say("added", changing.new)
    changing.send(changing.old, changing.new)
    changing.say("retired", changing.old)
    changing.send(changing.new)
    changing.device.write(1)
    with pytest.raises(RejectError):
        changing.send(changing.old)
    changing.send(changing.new)
    assert changing.log.size == 5
