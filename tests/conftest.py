"""What holds for all tests, and the reading of the record schemas that several of them share."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import settings

# How long an example takes is the machine's affair, not the code's.
settings.register_profile("kwota", deadline=None)
settings.load_profile("kwota")

pytest_plugins = ["browser", "disk", "driven"]

DOCS = Path(__file__).parents[1] / "docs"
SCHEMAS = DOCS / "schemas" / "records"
_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_KEYWORDS = frozenset(
    {"$schema", "$ref", "title", "description", "type", "const", "enum", "properties"}
    | {"required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems"}
    | {"minimum", "pattern", "anyOf", "oneOf", "allOf"}
)


class Schemas:
    """Enough of JSON Schema 2020-12 for the files in docs/schemas/records, and not a word more.

    A keyword that it does not know is an error: it would be a rule that nobody checks.
    """

    def __init__(self, directory: Path) -> None:
        files = sorted(directory.glob("*.json"))
        self.by_name = {file.name: json.loads(file.read_text()) for file in files}

    @property
    def kinds(self) -> set[str]:
        return {name.removesuffix(".json") for name in self.by_name} - {"record"}

    def faults(self, record: dict[str, Any]) -> list[str]:
        """What of a record is not as the schema of its kind has it."""
        return list(self._faults(self.by_name[f"{record['k']}.json"], record, record["k"]))

    def _faults(self, schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        assert set(schema) <= _KEYWORDS, set(schema) - _KEYWORDS
        if "$ref" in schema:
            yield from self._faults(self.by_name[schema["$ref"]], value, path)
        if "type" in schema and not _TYPES[schema["type"]](value):
            yield f"{path}: {value!r} is no {schema['type']}"
            return
        if "const" in schema and value != schema["const"]:
            yield f"{path}: {value!r} is not {schema['const']!r}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{path}: {value!r} is none of {schema['enum']}"
        if "minimum" in schema and value < schema["minimum"]:
            yield f"{path}: {value!r} is below {schema['minimum']}"
        if "pattern" in schema and re.search(schema["pattern"], value) is None:
            yield f"{path}: {value[:80]!r} is not of the form {schema['pattern']}"
        for part in schema.get("allOf", ()):
            yield from self._faults(part, value, path)
        for word, fits in (("anyOf", lambda n: n >= 1), ("oneOf", lambda n: n == 1)):
            found = [list(self._faults(part, value, path)) for part in schema.get(word, ())]
            if found and not fits(found.count([])):
                yield f"{path}: fits {found.count([])} of {len(found)}: {min(found, key=len)}"
        if isinstance(value, dict):
            yield from self._fields(schema, value, path)
        elif isinstance(value, list):
            yield from self._items(schema, value, path)

    def _fields(self, schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{path}.{name} is missing"
        for name, field in value.items():
            rest = schema.get("additionalProperties", True)
            if name in known:
                yield from self._faults(known[name], field, f"{path}.{name}")
            elif isinstance(rest, dict):
                yield from self._faults(rest, field, f"{path}.{name}")
            elif not rest:
                yield f"{path}.{name} is not in the schema"

    def _items(self, schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path} has {len(value)} items"
        first = schema.get("prefixItems", [])
        for at, item in enumerate(value):
            rule = first[at] if at < len(first) else schema.get("items", {})
            yield from self._faults(rule, item, f"{path}[{at}]")


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas(SCHEMAS)


class Wire:
    """What docs/asyncapi.json says of topics and messages, and whether a message is so."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.document: dict[str, Any] = json.loads(file.read_text())
        self.channels: dict[str, Any] = self.document["channels"]
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def at(self, reference: str) -> Any:
        """What a ``$ref`` within the document leads to."""
        found: Any = self.document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return found

    def channel_of(self, topic: str) -> str | None:
        """The channel of a topic. None: the document knows no such topic."""
        found = [
            name
            for name, channel in self.channels.items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", channel["address"]), topic)
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def faults(self, topic: str, payload: bytes) -> list[str]:
        """What of a message is not as the document has it."""
        name = self.channel_of(topic)
        if name is None:
            return [f"{topic} is in no channel"]
        (reference,) = self.channels[name]["messages"].values()
        message = self.at(reference["$ref"])
        schema = message["payload"]["schema"]["$ref"]
        faults = self._faults(schema, _decoded(payload, message["contentType"]))
        if "x-json-line" in message and not faults:
            inner = message["x-json-line"]
            line = json.loads(payload.split(b"\n")[inner["line"] - 1])
            faults = self._faults(inner["schema"]["$ref"], line)
        return [f"{topic}: {fault}" for fault in faults]

    def _faults(self, schema: str, value: Any) -> list[str]:
        if schema not in self._validators:
            file = self.file.parent / schema
            self._validators[schema] = jsonschema_rs.Draft202012Validator(
                json.loads(file.read_text()), retriever=_retrieved, base_uri=file.as_uri()
            )
        errors = self._validators[schema].iter_errors(value)
        return [f"{list(one.instance_path)}: {one.message[:300]}" for one in errors]


def _retrieved(uri: str) -> Any:
    return json.loads(Path(uri.removeprefix("file://")).read_text())


def _decoded(payload: bytes, content_type: str) -> Any:
    if content_type == "application/x-ndjson":
        return [json.loads(line) for line in payload.split(b"\n")]
    if content_type == "application/json":
        return json.loads(payload)
    return payload.decode()


@pytest.fixture(scope="session")
def wire() -> Wire:
    return Wire(DOCS / "asyncapi.json")
