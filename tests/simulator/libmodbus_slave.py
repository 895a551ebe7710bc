"""libmodbus as a slave on a port of its own, for a parent that says what its registers hold.

One line of JSON on stdin is one slave: ``{"3": {"address": word}, "4": {...}}``. One line on
stdout is its port. It ends with its parent's pipe. Nothing here knows Modbus: libmodbus does all.
"""

import ctypes
import json
import os
import socket
import sys
import threading

ALL = 0x10000
LONGEST = 260
LIBRARY = "libmodbus.so.5"


class Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("bits", "start_bits", "in_bits", "start_in_bits")),
        *((name, ctypes.c_int) for name in ("inputs", "start_in", "holdings", "start_holdings")),
        *((name, ctypes.POINTER(ctypes.c_uint8)) for name in ("tab_bits", "tab_in_bits")),
        *((name, ctypes.POINTER(ctypes.c_uint16)) for name in ("tab_inputs", "tab_holdings")),
    )


def loaded() -> ctypes.CDLL:
    """The library. Raises OSError where it is not installed."""
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    library.modbus_new_tcp.restype = ctypes.c_void_p
    library.modbus_new_tcp.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
    library.modbus_tcp_listen.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.modbus_tcp_accept.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
    library.modbus_receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.modbus_reply.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(Mapping),
    ]
    library.modbus_close.argtypes = [ctypes.c_void_p]
    return library


def serve(library: ctypes.CDLL, listener: int, context: int, mapping: object) -> None:
    """One client after the other, for ever."""
    query = ctypes.create_string_buffer(LONGEST)
    where = ctypes.c_int(listener)
    while library.modbus_tcp_accept(context, ctypes.byref(where)) >= 0:
        while (size := library.modbus_receive(context, query)) >= 0:
            if size and library.modbus_reply(context, query, size, mapping) < 0:
                break
        library.modbus_close(context)


def main() -> None:
    library = loaded()
    for line in sys.stdin:
        held = json.loads(line)
        mapping = library.modbus_mapping_new(0, 0, ALL, ALL)
        for function, table in (("3", "tab_holdings"), ("4", "tab_inputs")):
            words = getattr(mapping.contents, table)
            for at, word in held.get(function, {}).items():
                words[int(at)] = word
        context = library.modbus_new_tcp(b"127.0.0.1", 0)
        listener = library.modbus_tcp_listen(context, 1)
        if listener < 0:
            raise OSError(ctypes.get_errno(), "libmodbus does not listen")
        with socket.socket(fileno=os.dup(listener)) as probe:
            port = probe.getsockname()[1]
        rest = (library, listener, context, mapping)
        threading.Thread(target=serve, args=rest, daemon=True).start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
