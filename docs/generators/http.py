"""The page of the HTTP API, from the very document that ``/openapi.json`` serves."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agent.status.openapi import openapi_document

Schema = Mapping[str, Any]


def http_text() -> str:
    """Every path with what it takes and answers, then every document with its fields."""
    document = openapi_document()
    lines: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [*_operation(f"{method.upper()} {path}", operation), ""]
    lines += ["## Documents", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", *_described(schema), *table_of(schema), ""]
    return "\n".join(lines)


def _operation(title: str, operation: Schema) -> Iterator[str]:
    yield from (f"## {title}", "", operation.get("summary", ""), "")
    parameters = operation.get("parameters", ())
    if parameters:
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
    for one in parameters:
        kind = type_of(one["schema"])
        yield f"| `{one['name']}` | {one['in']} | {kind} | {one.get('description', '')} |"
    yield from ("", "| answer | content | meaning |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        contents = [
            f"`{kind}`: {type_of(content['schema'])}"
            for kind, content in answer.get("content", {}).items()
        ]
        yield f"| {status} | {'; '.join(contents) or '–'} | {answer.get('description', '')} |"


def _described(schema: Schema) -> Iterator[str]:
    if "description" in schema:
        yield from (" ".join(schema["description"].replace("``", "`").split()), "")


def table_of(schema: Schema) -> Iterator[str]:
    """The fields of an object, as rows."""
    fields: Mapping[str, Schema] = schema.get("properties", {})
    if not fields:
        yield f"{type_of(schema)}"
        return
    required = set(schema.get("required", ()))
    is_described = any("description" in field for field in fields.values())
    yield f"| field | type |{' meaning |' * is_described}"
    yield f"|---|---|{'---|' * is_described}"
    for name, field in fields.items():
        kind = type_of(field) + ("" if name in required else ", may be absent")
        meaning = f" {field.get('description', '')} |" * is_described
        yield f"| `{name}` | {kind} |{meaning}"


def type_of(schema: Schema) -> str:
    """A JSON Schema in words, for one cell of a table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if schema["$ref"].startswith("#") else name
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    if values:
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(type_of(one) for one in choices)
    return _array(schema) if schema.get("type") == "array" else _plain(schema)


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"list of {', '.join(type_of(one) for one in schema['prefixItems'])}"
    return f"list of {type_of(schema['items'])}" if "items" in schema else "list"


def _plain(schema: Schema) -> str:
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_of(schema['additionalProperties'])} by name"
    kind = schema.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    bounds = {"minimum": "from", "maximum": "to", "pattern": "matches", "maxLength": "at most"}
    told = [f"{word} `{schema[key]}`" for key, word in bounds.items() if key in schema]
    return " ".join([words, *told]).replace("|", "\\|")
