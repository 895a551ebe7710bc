"""Whatever is asked, the endpoint answers as its own OpenAPI document says: drawn requests.

The document is read from the running endpoint; status, media type, headers and body of each answer
are compared with it. What the schemas use of JSON Schema is checked here, and nothing else is used.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.status.doorway import Bounds
from agent.status.openapi import openapi_document
from agent.status.server import open_status_server
from agent.status.view import SiteView

DOCUMENT = openapi_document()
PATHS = sorted(DOCUMENT["paths"])
LISTS = [path for path in PATHS if "parameters" in DOCUMENT["paths"][path]["get"]]
GENEROUS = Bounds(requests_burst=1_000_000, requests_per_s=1_000_000.0)
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
CHECKED = {"$ref", "anyOf", "type", "properties", "required", "additionalProperties", "items"}
CHECKED |= {"minimum", "maximum", "const", "enum"}
TOLD = {"title", "description", "default", "summary"}


def faults(value: Any, schema: Mapping[str, Any], at: str = "$") -> list[str]:
    """Where a value is not what a schema says."""
    unknown = set(schema) - CHECKED - TOLD
    if unknown:
        return [f"{at}: nobody checks {', '.join(sorted(unknown))}"]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return faults(value, DOCUMENT["components"]["schemas"][name], at)
    if "anyOf" in schema:
        tried = [faults(value, one, at) for one in schema["anyOf"]]
        return [] if [] in tried else [f"{at}: {value!r} is none of the choices"]
    found = []
    wanted = schema.get("type")
    is_bool = isinstance(value, bool)
    if wanted is not None and (
        not isinstance(value, TYPES[wanted]) or (is_bool and wanted != "boolean")
    ):
        return [f"{at}: {value!r} is no {wanted}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        found.append(f"{at}: {value!r} is not one of the values")
    is_number = isinstance(value, int | float) and not is_bool
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{at}: {value} is out of bounds")
    if isinstance(value, list):
        for place, item in enumerate(value):
            found += faults(item, schema.get("items", {}), f"{at}[{place}]")
    if isinstance(value, dict):
        found += _faults_of_object(value, schema, at)
    return found


def _faults_of_object(value: dict[str, Any], schema: Mapping[str, Any], at: str) -> list[str]:
    found = [f"{at}: {key} is missing" for key in schema.get("required", []) if key not in value]
    others = schema.get("additionalProperties", True)
    for key, inner in value.items():
        if key in schema.get("properties", {}):
            found += faults(inner, schema["properties"][key], f"{at}.{key}")
        elif others is False:
            found.append(f"{at}: {key} is not promised")
        elif isinstance(others, dict):
            found += faults(inner, others, f"{at}.{key}")
    return found


async def answer_of(
    session: aiohttp.ClientSession, url: str, path: str, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    async with asyncio.timeout(5), session.get(f"{url.rstrip('/')}{path}", headers=headers) as said:
        if said.content_type == "text/event-stream":
            return said.status, said.headers, await said.content.readuntil(b"\n\n")
        return said.status, said.headers, await said.read()


def check(path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Compare an answer with what the document says about its path."""
    promised = DOCUMENT["paths"][path]["get"]["responses"]
    assert str(status) in promised, f"{path} answers {status}, which is not promised"
    response = promised[str(status)]
    for name in response.get("headers", {}):
        assert name in headers, f"{path} {status} has no {name}"
    content = response.get("content")
    if content is None:
        assert body == b""
        return
    ((media, told),) = content.items()
    assert headers["Content-Type"].partition(";")[0] == media
    value = json.loads(body) if media == "application/json" else body.decode()
    assert faults(value, told["schema"]) == []


def valid(parameter: Mapping[str, Any]) -> st.SearchStrategy[str]:
    schema = parameter["schema"]
    return st.integers(schema["minimum"], schema["maximum"]).map(str)


def wrong(parameter: Mapping[str, Any]) -> st.SearchStrategy[str]:
    schema = parameter["schema"]
    numbers = st.one_of(
        st.integers(max_value=schema["minimum"] - 1), st.integers(min_value=schema["maximum"] + 1)
    )
    strange = st.sampled_from(["", "1.0", "+1", " 1", "1e3", "0x1", "٣", "null", "1;2", "-0", "１"])
    letters = st.text(st.characters(categories=("L", "P", "S", "Zs")), min_size=1, max_size=20)
    return st.one_of(numbers.map(str), strange, letters)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A path, a query, and whether the query is as the document asks for."""
    path = draw(st.sampled_from(PATHS))
    pairs, is_valid = [], True
    for parameter in DOCUMENT["paths"][path]["get"].get("parameters", []):
        if draw(st.booleans()):
            is_wrong = draw(st.booleans())
            value = draw(wrong(parameter) if is_wrong else valid(parameter))
            pairs.append((parameter["name"], value))
            is_valid = is_valid and not is_wrong
    if draw(st.booleans()):
        pairs.append(("unknown", draw(st.text(max_size=10))))
    return path, urlencode(pairs), is_valid


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(drawn=st.lists(requests(), min_size=1, max_size=8), has_ticked=st.booleans())
async def test_every_answer_to_any_query_is_the_documents(
    source, site: SiteView, drawn: list[tuple[str, str, bool]], has_ticked: bool
) -> None:
    source.current = site if has_ticked else None
    async with (
        open_status_server(source, "127.0.0.1", 0, bounds=GENEROUS) as server,
        aiohttp.ClientSession() as session,
    ):
        for path, query, is_valid in drawn:
            status, headers, body = await answer_of(session, server.url, f"{path}?{query}", {})
            check(path, status, headers, body)
            if path.endswith("/stream"):
                assert status == 200
            else:
                assert status == (400 if not is_valid else 200 if has_ticked else 503)


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_known_already_is_a_304_and_what_is_not_is_whole(server, path: str) -> None:
    if path.endswith("/stream"):
        return
    async with aiohttp.ClientSession() as session:
        status, headers, body = await answer_of(session, server.url, path, {})
        check(path, status, headers, body)
        for tag, wanted in (
            (headers["ETag"], 304),
            (f'"other", W/{headers["ETag"]}', 304),
            ('"other"', 200),
            ("nonsense", 200),
        ):
            answer = await answer_of(session, server.url, path, {"If-None-Match": tag})
            assert answer[0] == wanted
            check(path, *answer)


async def test_pages_put_together_are_the_whole_list(server, site: SiteView) -> None:
    async with aiohttp.ClientSession() as session:
        for path in LISTS:
            _, headers, body = await answer_of(session, server.url, path, {})
            whole, rows = json.loads(body), []
            for offset in range(0, len(whole) + 7, 7):
                page = await answer_of(session, server.url, f"{path}?offset={offset}&limit=7", {})
                assert page[1]["X-Total-Count"] == headers["X-Total-Count"] == str(len(whole))
                rows += json.loads(page[2])
            assert rows == whole, path


async def test_the_document_is_the_one_that_is_served_and_names_what_it_refers_to(server) -> None:
    async with aiohttp.ClientSession() as session:
        _, _, body = await answer_of(session, server.url, "/openapi.json", {})
    assert json.loads(body) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")
    for path in PATHS:
        assert set(DOCUMENT["paths"][path]) == {"get"}, "nothing but reading"


def test_the_check_itself_sees_what_is_wrong(site: SiteView) -> None:
    schema = {"$ref": "#/components/schemas/StatusView"}
    told = site.status.model_dump(mode="json")
    assert faults(told, schema) == []
    assert faults(told | {"power_w": "1"}, schema)
    assert faults(told | {"extra": 1}, schema)
    assert faults({key: value for key, value in told.items() if key != "farm"}, schema)
    assert faults(told | {"miners_total": True}, schema)
    assert faults(told | {"alarms": [{}]}, schema)
    assert faults(1, {"type": "integer", "minimum": 2})
    assert faults(1, {"pattern": "a"}), "what nobody checks is not passed over"
