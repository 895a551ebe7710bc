"""docs/asyncapi.json holds together, and it has the topics that the code has."""

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from agent.broker import Broker
from agent.homeassistant import HomeTarget, announcements
from agent.poolnote import NOTE_BYTES_MAX
from agent.status.view import StatusView

REPO = Path(__file__).parents[2]
THEIRS = os.environ.get("ASYNCAPI_SCHEMA")
SPEAKING = ("publisher", "downlink", "homeassistant")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def topics_in(module: str) -> set[str]:
    """What a module puts behind a topic of its own: f"{settings.topic}/evidence"."""
    found = set()
    for node in ast.walk(ast.parse((REPO / "agent" / f"{module}.py").read_text())):
        if not isinstance(node, ast.JoinedStr) or len(node.values) != 2:
            continue
        first, rest = node.values
        if isinstance(first, ast.FormattedValue) and isinstance(rest, ast.Constant):
            owner = ast.unparse(first.value)
            if owner.endswith(".topic") and str(rest.value).startswith("/"):
                found.add(str(rest.value))
    return found


def test_every_reference_leads_somewhere(wire) -> None:
    found = set(references(wire.document))
    assert len(found) > 30
    for reference in found:
        if reference.startswith("#/"):
            assert wire.at(reference), reference
        else:
            assert (wire.file.parent / reference).is_file(), reference
    files = sorted((wire.file.parent / "schemas").glob("*/*.json"))
    for file in files:
        schema = json.loads(file.read_text())
        for reference in references(schema):
            if reference.startswith("#/$defs/"):
                assert reference.removeprefix("#/$defs/") in schema["$defs"]
            else:
                assert (file.parent / reference).is_file(), (file, reference)


def test_every_schema_of_a_message_is_used(wire) -> None:
    used = {one for one in references(wire.document) if not one.startswith("#/")}
    folder = wire.file.parent / "schemas" / "messages"
    assert used == {f"schemas/messages/{file.name}" for file in folder.glob("*.json")}


def test_the_document_is_as_asyncapi_3_wants_it(wire) -> None:
    document = wire.document
    assert document["asyncapi"] == "3.0.0"
    assert document["info"].keys() >= {"title", "version"}
    for name, channel in wire.channels.items():
        named = set(re.findall(r"\{(\w+)\}", channel["address"]))
        assert set(channel["parameters"]) == named, name
        assert channel["servers"]
    operated = []
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert set(operation["bindings"]["mqtt"]) == {"qos", "retain", "bindingVersion"}
        place = operation["channel"]["$ref"]
        operated.append(place.rpartition("/")[2])
        parts = [operation, operation["reply"]] if "reply" in operation else [operation]
        for part in parts:
            for message in part["messages"]:
                assert message["$ref"].startswith(f"{part['channel']['$ref']}/messages/")
    assert sorted(operated) == sorted(wire.channels)


@pytest.mark.skipif(THEIRS is None, reason="ASYNCAPI_SCHEMA does not name AsyncAPI's own schema")
def test_the_document_keeps_the_schema_that_asyncapi_publishes(wire) -> None:
    """Theirs is not copied here; CONTRIBUTING.md says where it is from."""
    assert THEIRS is not None
    validator = jsonschema_rs.Draft7Validator(json.loads(Path(THEIRS).read_text()))
    found = [(list(one.instance_path), one.message) for one in validator.iter_errors(wire.document)]
    assert found == []
    for change in ({"asyncapi": "2.0.0"}, {"info": {}}, {"nonsense": 1}):
        assert not validator.is_valid(wire.document | change)


def test_the_code_has_the_topics_of_the_document_and_no_other(wire) -> None:
    base = "kwota/v1/{farm}/{agent}"
    written = {
        f"{base}{rest}" for module in ("publisher", "downlink") for rest in topics_in(module)
    }
    written |= {f"{base}/home{rest}" for rest in topics_in("homeassistant")}
    addresses = {channel["address"] for channel in wire.channels.values()}
    assert {one for one in addresses if one.startswith(base)} == written
    others = [path for path in (REPO / "agent").rglob("*.py") if path.stem not in SPEAKING]
    assert [path.name for path in others if "topic}/" in path.read_text()] == []


def test_what_home_assistant_is_told_of_is_as_the_document_has_it(wire) -> None:
    broker = Broker(host="127.0.0.1", port=1, is_tls=False)
    target = HomeTarget(broker=broker, farm="farm-1", agent="edge-1", version="1")
    told = announcements(target)
    assert [wire.faults(one.topic, one.payload) for one in told] == [[]] * len(told)
    sensors = {one.topic.split("/")[-2] for one in told}
    assert sensors == set(wire.document["components"]["parameters"]["sensor"]["enum"])


def test_the_live_image_is_the_status_document(wire) -> None:
    file = wire.file.parent / "schemas" / "messages" / "live.json"
    schema = json.loads(file.read_text())
    assert schema.pop("$schema").endswith("2020-12/schema")
    assert schema == StatusView.model_json_schema(mode="serialization"), (
        "the status document has changed: write its model_json_schema() into that file"
    )


def test_the_longest_message_is_the_one_that_is_taken(wire) -> None:
    for name in ("transactions", "equivocation"):
        file = wire.file.parent / "schemas" / "messages" / f"{name}.json"
        assert json.loads(file.read_text())["maxLength"] == NOTE_BYTES_MAX


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("kwota/v1/f/a/nothing", b"{}"),
        ("kwota/v1/f/a/state", b'{"v":1,"state":"asleep","at_ms":1}'),
        ("kwota/v1/f/a/receipt", b"hello"),
        ("kwota/v1/f/a/evidence", b'{"v":1}\n{}'),
        ("kwota/v1/f/a/transactions", b"kwota/transactions/v1\n{}\n\n"),
        ("kwota/v1/f/a/transactions", "kwota/transactions/v1\n{}\n\n— a AAAA\n".encode()),
        ("kwota/v1/f/a/transactions/ack", b'{"v":1,"result":"taken"}'),
        ("kwota/v1/f/a/live", b"{}"),
    ],
)
def test_what_is_not_so_is_told_apart(wire, topic: str, payload: bytes) -> None:
    assert wire.faults(topic, payload) != []
