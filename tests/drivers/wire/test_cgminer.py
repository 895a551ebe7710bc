import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, BusyError, RefusedError
from drivers.wire.cgminer import REPLY_LIMIT_BYTES, Row, decode_answer, encode_command

OK = '"STATUS":[{"STATUS":"S","Code":11,"Msg":"Summary"}]'


@pytest.mark.parametrize("folder", ["luxos-s19kpro", "antminer-2020", "avalon-a", "whatsminer-v1"])
def test_every_recorded_answer_is_read_key_by_key(captures: Path, folder: str) -> None:
    for path in sorted((captures / folder).glob("*.json")):
        if path.name == "system_info.json":  # from the web interface, not from this API
            continue
        expected = json.loads(path.read_bytes())
        answer = decode_answer(path.read_bytes() + b"\0")
        assert answer.accepted(path.stem) is answer
        for key, value in expected.items():
            if isinstance(value, list):
                assert [dict(row.values) for row in answer.rows(key)] == value, path
            else:
                assert answer.fields.values[key] == value, path


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ('{"A":[{"x":1}{"x":2}]}', {"A": [{"x": 1}, {"x": 2}]}),
        ('{"A":[{"x":1}\r\n {"x":2}]}', {"A": [{"x": 1}, {"x": 2}]}),
        ('{"A":[,{"x":1}]}', {"A": [{"x": 1}]}),
        ('{"A":[{"x":1,}]}', {"A": [{"x": 1}]}),
        ('{"A":[{"x":1},]}', {"A": [{"x": 1}]}),
        ('{"A":[{,"x":1}]}', {"A": [{"x": 1}]}),
        (',{"A":[{"x":1}]}', {"A": [{"x": 1}]}),
        ('{"A":[{""temp0":41,"e":""}]}', {"A": [{"temp0": 41, "e": ""}]}),
        ('{"A":[{"x":nan,"y":-inf,"z":Infinity}]}', {"A": [{"x": None, "y": None, "z": None}]}),
        (
            '{"A":[{"s":"}{ [,{ ,} nan \\" \\\\"}],}',
            {"A": [{"s": '}{ [,{ ,} nan " \\'}]},
        ),
    ],
)
def test_known_flaws_are_repaired_and_strings_are_left_alone(
    broken: str, whole: dict[str, Any]
) -> None:
    answer = decode_answer(broken.encode() + b"\r\n\0")
    assert [dict(row.values) for row in answer.rows("A")] == whole["A"]


def test_what_stands_beside_the_sections_is_read_as_fields() -> None:
    answer = decode_answer(b'{"STATUS":"S","Code":131,"Msg":{"power":3200},"POOLS":[{"POOL":0}]}')
    assert answer.fields.values.keys() == {"STATUS", "Code", "Msg"}
    assert answer.fields.whole("Code") == 131
    assert answer.sections.keys() == {"POOLS"}
    assert answer.parts == {}


def test_bytes_that_are_not_utf8_do_not_make_an_answer_unreadable() -> None:
    answer = decode_answer(b'{"POOLS":[{"User":"caf\xe9","POOL":0}]}')
    assert answer.row("POOLS").whole("POOL") == 0


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "empty"),
        (b"\0\r\n", "empty"),
        (b"<html><body>404</body></html>", "web page"),
        (b"Socket connect failed: Connection refused\n", "mining program"),
        (b'{"STATUS":[{"STATUS":"S","Code":11', "cut off"),
        (b'{"A":"' + b"x" * 100, "cut off"),
        (b'{"A":"x\\', "cut off"),
        (b'{"A":1}{"A":2}', "cut off"),
        (b'{"A":1}\0{"A":2}', "cut off"),
        (b"[1,2]", "not an object"),
        (b"nan", "not an object"),
        (b'{"A":[1,2]}', "other than objects"),
        (b"[" * 100_000, "cut off"),
        (b" " * (REPLY_LIMIT_BYTES + 1), "longer than 1 MiB"),
    ],
)
def test_what_is_not_one_whole_answer_is_a_bad_reply(reply: bytes, words: str) -> None:
    with pytest.raises(BadReplyError, match=words):
        decode_answer(reply)


def test_an_error_keeps_the_bytes() -> None:
    with pytest.raises(BadReplyError) as caught:
        decode_answer(b"<html>")
    assert caught.value.reply == b"<html>"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_an_answer_or_a_bad_reply(reply: bytes) -> None:
    with contextlib.suppress(BadReplyError):
        decode_answer(reply)


JSON_LIKE = st.text(alphabet='{}[],:"\\ \0\nantifyN01-STAUSCodeMg', max_size=120)


@given(JSON_LIKE, st.sampled_from(["", '{"STATUS":[', '{"A":[{"b":1}', '{"error":']))
def test_almost_json_gives_an_answer_or_a_bad_reply(text: str, head: str) -> None:
    with contextlib.suppress(BadReplyError, RefusedError):
        decode_answer((head + text).encode()).accepted("x").row("A").number("b")


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in {"STATUS", "error"}),
        st.lists(
            st.dictionaries(
                st.text(max_size=8).filter(lambda key: key != "STATUS"),
                st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
                max_size=4,
            ),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_whole_json_is_never_changed(document: dict[str, list[dict[str, Any]]]) -> None:
    answer = decode_answer(json.dumps(document).encode() + b"\0")
    read = {name: [dict(row.values) for row in rows] for name, rows in answer.sections.items()}
    assert read == document


@pytest.mark.parametrize("filler", ['"', '"\\"', "[,", ", ", "}{", '""a', "nan ", "{,"])
def test_the_largest_hostile_answer_is_decoded_in_bounded_time(filler: str) -> None:
    reply = ("{" + filler * (REPLY_LIMIT_BYTES // len(filler) - 2)).encode()
    began_s = time.thread_time()
    with pytest.raises(BadReplyError):
        decode_answer(reply)
    assert time.thread_time() - began_s < 3.0


def test_a_refusal_carries_the_machines_own_words() -> None:
    answer = decode_answer(b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Board 7 not found"}]}')
    with pytest.raises(RefusedError, match=r"refused disableboard: Board 7 not found \(code 45\)"):
        answer.accepted("disableboard")


def test_code_402_is_busy_not_merely_refused() -> None:
    answer = decode_answer(
        b'{"STATUS":[{"STATUS":"E","Code":402,"Msg":"Another session is active"}]}'
    )
    with pytest.raises(BusyError, match="Another session is active"):
        answer.accepted("logon")


def test_a_bare_error_object_is_a_refusal() -> None:
    with pytest.raises(RefusedError, match="unknown command"):
        decode_answer(b'{"error":"unknown command"}').accepted("stats")


@pytest.mark.parametrize("letter", ["S", "I", "W"])
def test_success_information_and_warning_are_a_yes(letter: str) -> None:
    reply = json.dumps({"STATUS": [{"STATUS": letter, "Code": 9, "Msg": "ok"}]}).encode()
    assert decode_answer(reply).accepted("x")


@pytest.mark.parametrize(
    "verdict",
    [
        {"STATUS": "F", "Code": 1, "Msg": "fatal"},
        {"STATUS": "", "Code": 1, "Msg": "?"},
        {"Msg": {"not": "text"}, "Code": "not a number"},
    ],
)
def test_any_other_verdict_is_a_no(verdict: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        decode_answer(json.dumps({"STATUS": [verdict]}).encode()).accepted("x")


@pytest.mark.parametrize("reply", [b"{}", b'{"STATUS":[]}', b'{"STATUS":7}'])
def test_an_answer_without_a_verdict_is_a_bad_reply(reply: bytes) -> None:
    with pytest.raises(BadReplyError, match="no STATUS"):
        decode_answer(reply).accepted("x")


def test_a_joined_answer_has_one_part_per_command() -> None:
    reply = f'{{"summary":[{{{OK},"SUMMARY":[{{"Elapsed":5}}]}}],"devs":[{{{OK}}}],"id":1}}'
    parts = decode_answer(reply.encode()).parts
    assert sorted(parts) == ["devs", "summary"]
    assert parts["summary"].accepted("summary").row("SUMMARY").whole("Elapsed") == 5


def test_missing_and_empty_sections_are_told_apart() -> None:
    answer = decode_answer(b'{"SUMMARY":[]}')
    assert answer.rows("SUMMARY") == ()
    with pytest.raises(BadReplyError, match="is empty"):
        answer.row("SUMMARY")
    with pytest.raises(BadReplyError, match="no section DEVS"):
        answer.rows("DEVS")


ROW = Row(
    section="DEVS",
    values={"n": 1.5, "i": 3, "f": 4.0, "t": "-12", "y": "Y", "no": "N", "b": False, "z": None},
)


def test_values_are_read_by_kind() -> None:
    assert ROW.number("n") == 1.5
    assert (ROW.whole("i"), ROW.whole("f"), ROW.whole("t")) == (3, 4, -12)
    assert ROW.text("t") == "-12"
    assert (ROW.flag("y"), ROW.flag("no"), ROW.flag("b")) == (True, False, False)
    assert not ROW.has("z")


def test_what_the_firmware_leaves_out_has_a_value_that_says_so() -> None:
    for key in ("z", "absent"):
        assert ROW.number_or_none(key) is None
        assert ROW.text_or_empty(key) == ""
        assert ROW.flag_or_no(key) is False
    assert (ROW.number_or_none("n"), ROW.number_or_none("i")) == (1.5, 3.0)
    assert ROW.text_or_empty("t") == "-12"
    assert (ROW.flag_or_no("y"), ROW.flag_or_no("no"), ROW.flag_or_no("b")) == (True, False, False)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("number_or_none", "t"),
        ("number_or_none", "b"),
        ("text_or_empty", "i"),
        ("flag_or_no", "i"),
        ("flag_or_no", "t"),
        ("number", "t"),
        ("number", "b"),
        ("number", "z"),
        ("number", "absent"),
        ("whole", "n"),
        ("whole", "y"),
        ("text", "i"),
        ("flag", "i"),
        ("flag", "t"),
    ],
)
def test_a_value_of_another_kind_is_a_bad_reply_naming_the_key(kind: str, key: str) -> None:
    with pytest.raises(BadReplyError, match=f"DEVS.*'{key}'"):
        getattr(ROW, kind)(key)


@pytest.mark.parametrize("number", ["nan", "-inf", "1e999"])
def test_a_number_that_is_not_finite_never_gets_through(number: str) -> None:
    with pytest.raises(BadReplyError):
        decode_answer(f'{{"A":[{{"x":{number}}}]}}'.encode()).row("A").number("x")


def test_a_command_is_one_line_of_json() -> None:
    assert encode_command("devs") == b'{"command":"devs"}\n'
    assert json.loads(encode_command("curtail", 'a"b,sleep')) == {
        "command": "curtail",
        "parameter": 'a"b,sleep',
    }


def test_a_verdict_at_the_top_level_is_a_verdict() -> None:
    """The second answer shape of cgminer's descendants: STATUS as a letter beside the rest."""
    given_answer = decode_answer(b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd"}')
    assert given_answer.status is not None
    assert (given_answer.status.letter, given_answer.status.code) == ("E", 14)
    assert given_answer.status.message == "invalid cmd"
