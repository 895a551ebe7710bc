"""The agent with a journal that does not sync its commits, which a power cut has to show.

python carelessagent.py run --config FILE
"""

import sqlite3
from pathlib import Path

from agent import store
from agent.cli import main

_open_connection = store.open_connection


def open_careless(path: Path, max_bytes: int) -> sqlite3.Connection:
    connection = _open_connection(path, max_bytes)
    connection.execute("PRAGMA synchronous = NORMAL").fetchall()
    return connection


store.open_connection = open_careless
main()
