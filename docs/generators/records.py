"""The page of records, from the JSON Schemas that the journal's own tests hold true."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from generators.http import type_of

FOLDER: Final = Path(__file__).parents[1] / "schemas" / "records"


def records_text() -> str:
    """What all records share, then each kind with the fields of its data."""
    lines = ["| kind | what it says |", "|---|---|"]
    schemas = {path.stem: json.loads(path.read_text("utf-8")) for path in kinds()}
    lines += [f"| [`{kind}`](#{kind}) | {_title(schema)} |" for kind, schema in schemas.items()]
    shared = json.loads((FOLDER / "record.json").read_text("utf-8"))
    lines += ["", "## What all have in common", "", _title(shared), "", *_rows("", shared), ""]
    for kind, schema in schemas.items():
        lines += [f"## {kind}", "", _title(schema), "", *_kind(schema), ""]
    return "\n".join(lines)


def kinds() -> list[Path]:
    """A schema for each kind of record."""
    return sorted(path for path in FOLDER.glob("*.json") if path.stem != "record")


def _title(schema: Mapping[str, Any]) -> str:
    return str(schema.get("title", "")).partition(": ")[2] or str(schema.get("title", ""))


def _kind(schema: Mapping[str, Any]) -> Iterator[str]:
    data = schema.get("properties", {}).get("d", {})
    choices = data.get("oneOf") or data.get("anyOf")
    if not choices:
        yield from _rows("", data)
        return
    for choice in choices:
        yield from (*_rows(_event(choice), choice), "")


def _event(schema: Mapping[str, Any]) -> str:
    event = schema.get("properties", {}).get("event", {})
    return str(event.get("const", "")) or ", ".join(event.get("enum", ()))


def _rows(event: str, schema: Mapping[str, Any]) -> Iterator[str]:
    if event:
        yield from (f"**{event}**", "")
    fields = schema.get("properties", {})
    if not fields:
        yield f"{type_of(schema)}: its shape is told in [wire.md](../wire.md)."
        return
    required = set(schema.get("required", ()))
    yield from ("| field | type |", "|---|---|")
    for name, field in fields.items():
        yield f"| `{name}` | {_type(field)}{'' if name in required else ', may be absent'} |"


def _type(field: Mapping[str, Any]) -> str:
    """A field's type; of an object the names of what is in it."""
    if field.get("type") == "object" and "properties" in field:
        return "object: " + ", ".join(f"`{name}`" for name in field["properties"])
    return type_of(field)
