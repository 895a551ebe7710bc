"""A DLMS meter made of gurux-dlms (GPL), in a process of its own: run it, never import it.

Its one argument is a folder. ``given.json`` there has ``objects`` as [class, OBIS code, value,
scaler, unit] rows and the ``password`` of client 32, null where none is wanted; it is read anew at
each question. To ``asked`` it adds the first byte of every APDU that it is asked. It writes its
port and ends with its standard input.
"""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path

from gurux_dlms import GXServerReply
from gurux_dlms.enums import DataType, InterfaceType, SourceDiagnostic
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureServer

TYPES = {int: DataType.UINT32, str: DataType.OCTET_STRING, float: DataType.FLOAT64}
FREE_CLIENT, READER = 16, 32


class Question(GXServerReply):
    """With the methods that the library's server calls and its own class does not have."""

    def setReply(self, reply):
        self.reply = reply

    def getConnectionInfo(self):
        return self.connectionInfo

    def getCount(self):
        return self.count


class Meter(GXDLMSSecureServer):
    """What the library leaves to its user: who may read, and where the values are."""

    def __init__(self, folder):
        super().__init__(True, InterfaceType.WRAPPER)
        self.folder = folder
        self.client = 0
        for row in given(folder)["objects"]:
            self.items.append(made(row))
        # The library stumbles where it has to make the association by itself.
        association = GXDLMSAssociationLogicalName()
        self.items.append(association)
        association.objectList.extend(self.items)
        self.initialize()

    def isTarget(self, serverAddress, clientAddress):
        self.client = clientAddress
        return serverAddress == 1 and clientAddress in (FREE_CLIENT, READER)

    def onValidateAuthentication(self, authentication, password):
        wanted = given(self.folder)["password"]
        is_right = wanted is None or bytes(password or b"") == wanted.encode()
        if self.client == READER and not is_right:
            return SourceDiagnostic.AUTHENTICATION_FAILURE
        return SourceDiagnostic.NONE

    def onFindObject(self, objectType, sn, ln):
        return None

    def notifyRead(self):
        fresh = {row[1]: row[2] for row in given(self.folder)["objects"]}
        for item in self.items:
            if isinstance(item, GXDLMSRegister):
                item.value = fresh[item.logicalName]

    def onGetAttributeAccess(self, arg):
        return 1  # read only

    def onGetMethodAccess(self, arg):
        return 0

    def nothing(self, *_):
        pass

    onPreGet = onPostGet = onPreRead = onPostRead = onPreWrite = onPostWrite = nothing
    onConnected = onInvalidConnection = onDisconnected = onPreAction = onPostAction = nothing


def given(folder):
    return json.loads((folder / "given.json").read_text())


def made(row):
    kind, obis, value, scaler, unit = row
    if kind == 8:
        clock = GXDLMSClock(obis)
        clock.time = datetime.fromisoformat(value)
        return clock
    if kind == 1:
        data = GXDLMSData(obis)
        data.value = value.encode() if isinstance(value, str) else value
        data.setDataType(2, TYPES[type(value)])
        return data
    register = GXDLMSRegister(obis)
    register.value, register.unit = value, unit
    # Its own logarithm of 1000 is below 3.
    register.scaler = 10.0**scaler * 1.000001
    register.setDataType(2, TYPES[type(value)])
    return register


async def serve(folder):
    async def talk(reader, writer):
        meter = Meter(folder)
        while True:
            try:
                head = await reader.readexactly(8)
                apdu = await reader.readexactly(int.from_bytes(head[6:], "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            with (folder / "asked").open("ab") as asked:
                asked.write(apdu[:1])
            question = Question(bytearray(head + apdu))
            meter.handleRequest(question)
            if question.reply:
                writer.write(bytes(question.reply))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


asyncio.run(serve(Path(sys.argv[1])))
