"""Messages of Braiins OS' gRPC between bytes and values, from the rows of braiins_messages.toml."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS

_PACKAGE = "braiins.bos.v1"
_KINDS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}


class MessageError(Exception):
    """Bytes are no such message."""


def encoded(name: str, values: dict[str, Any]) -> bytes:
    """The bytes of a message; a value of None is absent.

    Raises google.protobuf's ParseError for a key that the message has no row for.
    """
    return ParseDict(_said(values), _kinds_of_message()[name]()).SerializeToString()


def decoded(name: str, received: bytes) -> Any:
    """The message, with its fields as attributes. Raises MessageError."""
    message = _kinds_of_message()[name]()
    try:
        message.ParseFromString(received)
    except DecodeError as error:
        raise MessageError(f"no {name}") from error
    return message


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _said(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_said(part) for part in value]
    return value


@cache
def _kinds_of_message() -> dict[str, type[Message]]:
    text = resources.files("simulator").joinpath("braiins_messages.toml").read_text("utf-8")
    rows_of_message = tomllib.loads(text)
    file = FileDescriptorProto(
        name="braiins.proto", package=_PACKAGE, syntax="proto3", dependency=[WRAPPERS.name]
    )
    for name, rows in rows_of_message.items():
        message = file.message_type.add(name=name)
        for field, row in rows.items():
            number, _, kind = row.partition(" ")
            slot = message.field.add(name=field, number=int(number))
            _set_kind(slot, kind.strip("[]?"))
            many = FieldDescriptorProto.LABEL_REPEATED
            slot.label = many if kind[0] == "[" else FieldDescriptorProto.LABEL_OPTIONAL
            if kind[-1] == "?":
                slot.proto3_optional = True
                slot.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    pool = DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in rows_of_message
    }


def _set_kind(slot: FieldDescriptorProto, kind: str) -> None:
    if kind in _KINDS:
        slot.type = _KINDS[kind]
        return
    slot.type = FieldDescriptorProto.TYPE_MESSAGE
    package = "google.protobuf" if kind == "UInt32Value" else _PACKAGE
    slot.type_name = f".{package}.{kind}"
