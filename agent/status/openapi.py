"""``/openapi.json``: the read-only API, described from the very models that it serves."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent.status.view import (
    AlarmView,
    DecisionRow,
    HistoryRow,
    MeterRow,
    MinerRow,
    StatementRow,
    StatusView,
    TransactionRow,
)

PAGE_ROWS_MAX: Final = 10_000

_Document = tuple[str, str, type[BaseModel]]
_STATUS: Final[_Document] = ("status", "The site as a whole, of one tick.", StatusView)
_LISTS: Final[tuple[_Document, ...]] = (
    ("miners", "Every machine.", MinerRow),
    ("meters", "Every meter.", MeterRow),
    ("transactions", "Every purchase that the agent knows.", TransactionRow),
    ("statements", "What each quarter of an hour used, two days back.", StatementRow),
    ("decisions", "The latest decisions, newest first.", DecisionRow),
    ("history", "The last day in steps, from memory, oldest first.", HistoryRow),
    ("events", "The alarms that stand now.", AlarmView),
)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``/api/v1``, ready for JSON."""
    models = [_STATUS[2], *(model for _, _, model in _LISTS)]
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    paths = {f"/api/v1/{_STATUS[0]}": _path(_STATUS[1], _reference(_STATUS[2]))}
    for name, summary, model in _LISTS:
        schema = {"type": "array", "items": _reference(model)}
        paths[f"/api/v1/{name}"] = _path(summary, schema, is_list=True)
    paths["/api/v1/stream"] = _stream_path()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kwota status",
            "version": "1",
            "description": "Read-only. null means that there is no such number now, never zero.",
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"] | {"Error": _ERROR}},
    }


_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence with the way out."}},
}


_WORDS: Final = {"text/plain": {"schema": {"type": "string"}}}
# What the guard in front of every path may say (docs/access.md).
_REFUSALS: Final = {
    "401": {"description": "A token is asked for here, and none came.", "content": _WORDS},
    "429": {"description": "Too many requests: ask less often.", "content": _WORDS},
}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


_ETAG: Final = {
    "ETag": {
        "description": "Give it back as If-None-Match: 304 means that nothing has changed.",
        "schema": {"type": "string"},
    }
}
_TOTAL: Final = {
    "X-Total-Count": {
        "description": "How many rows there are in all pages.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_PAGING: Final = [
    {
        "name": "limit",
        "in": "query",
        "description": "How many rows at most; all of them without it.",
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX},
    },
    {
        "name": "offset",
        "in": "query",
        "description": "How many rows to leave out before the first one.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 10_000_000, "default": 0},
    },
]


def _path(summary: str, schema: dict[str, Any], *, is_list: bool = False) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    responses: dict[str, Any] = {
        "200": {
            "description": "The image of the last tick.",
            "headers": _ETAG | _TOTAL if is_list else _ETAG,
            "content": {"application/json": {"schema": schema}},
        },
        "304": {"description": "What If-None-Match names is still the newest."},
        "503": {
            "description": "The agent has not finished its first tick yet.",
            "content": {"application/json": {"schema": error}},
        },
        **_REFUSALS,
    }
    if is_list:
        responses["400"] = {
            "description": "The page that was asked for is none.",
            "content": {"application/json": {"schema": error}},
        }
    get: dict[str, Any] = {"summary": summary, "responses": responses}
    return {"get": get | {"parameters": _PAGING} if is_list else get}


def _stream_path() -> dict[str, Any]:
    words = "Server-sent events: an event `tick` with the status document at every tick."
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "get": {
            "summary": words,
            "responses": {
                "200": {
                    "description": words,
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                "503": {
                    "description": "All places are taken: poll instead.",
                    "content": {"application/json": {"schema": error}},
                },
                **_REFUSALS,
            },
        }
    }
