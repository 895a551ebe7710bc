"""The envelope of API v3: questions, tokens, verdicts."""

import json
from collections.abc import Callable

import pytest

from drivers.errors import BadReplyError, BusyError, RefusedError
from drivers.wire.whatsminer_reply import Reply, decode_reply, encode_read, encode_write


def test_a_question_is_a_command_and_perhaps_its_parameter() -> None:
    assert json.loads(encode_read("get.miner.setting")) == {"cmd": "get.miner.setting"}
    told = json.loads(encode_read("get.miner.status", "summary"))
    assert told == {"cmd": "get.miner.status", "param": "summary"}


def test_a_write_carries_the_vendors_token_and_not_the_password() -> None:
    request = encode_write(
        "set.miner.service", "stop", password="super", salt="BQ5hoXV9", clock_s=1_700_000_000
    )
    assert json.loads(request) == {
        "cmd": "set.miner.service",
        "param": "stop",
        "ts": 1_700_000_000,
        "token": "n5JRDCDx",
        "account": "super",
    }


def test_a_no_says_what_the_operator_can_do() -> None:
    def refused(code: int, words: str) -> Callable[[], Reply]:
        document = {"code": code, "msg": words, "desc": "set.miner.service"}
        reply = decode_reply(json.dumps(document).encode(), "set.miner.service")
        return lambda: reply.accepted("set.miner.service")

    assert refused(0, "ok")().words == "ok"
    with pytest.raises(RefusedError, match="password file"):
        refused(-4, "permission denied")()
    with pytest.raises(BusyError, match="try again"):
        refused(-1, "btminer is busy")()
    with pytest.raises(RefusedError, match=r"invalid service \(code -2\)"):
        refused(-2, "invalid service")()
    with pytest.raises(RefusedError, match="no reason given"):
        refused(-3, "")()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"[]",
        b'{"code":0,"msg":{"m',
        b'{"code":true,"msg":"ok"}',
        b'{"msg":"ok"}',
        b'{"code":0,"msg":"ok","desc":"get.miner.setting"}',
        b"<html></html>",
    ],
)
def test_what_is_no_answer_to_the_question_is_a_bad_reply(reply: bytes) -> None:
    with pytest.raises(BadReplyError):
        decode_reply(reply, "set.miner.service")


def test_a_trailing_nul_and_a_missing_name_are_forgiven() -> None:
    assert decode_reply(b'{"code":0,"msg":"ok"}\0', "set.miner.service").words == "ok"
