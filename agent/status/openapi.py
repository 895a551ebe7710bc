"""``/openapi.json``: the read-only API, described from the very models that it serves."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent.status.view import (
    AlarmView,
    DecisionRow,
    MeterRow,
    MinerRow,
    StatementRow,
    StatusView,
    TransactionRow,
)

_Document = tuple[str, str, type[BaseModel]]
_STATUS: Final[_Document] = ("status", "The site as a whole, of one tick.", StatusView)
_LISTS: Final[tuple[_Document, ...]] = (
    ("miners", "Every machine.", MinerRow),
    ("meters", "Every meter.", MeterRow),
    ("transactions", "Every purchase that the agent knows.", TransactionRow),
    ("statements", "What each quarter of an hour used, two days back.", StatementRow),
    ("decisions", "The latest decisions, newest first.", DecisionRow),
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
        paths[f"/api/v1/{name}"] = _path(summary, schema)
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


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _path(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "get": {
            "summary": summary,
            "responses": {
                "200": {
                    "description": "The image of the last tick.",
                    "content": {"application/json": {"schema": schema}},
                },
                "503": {
                    "description": "The agent has not finished its first tick yet.",
                    "content": {"application/json": {"schema": error}},
                },
            },
        }
    }
