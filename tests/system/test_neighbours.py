"""The daemon with everything switched on that shows the site to others: token, socket, webhook."""

import http.server
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from agent.control_client import RefusedError, ask

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

TOKEN = "0123456789abcdef0123456789abcdef"


class _Receiver(http.server.BaseHTTPRequestHandler):
    events: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).events.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    handler = type("Receiver", (_Receiver,), {"events": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def status_of(url: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_daemon_with_a_token_a_page_socket_and_a_webhook(site, receiver) -> None:
    site.start_broker()
    site.start_farm(2)
    token = site.directory / "status.token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    port = receiver.server_address[1]
    site.change_config(
        '\nsocket = "kwota.sock"',
        '\nsocket = "kwota.sock"\npage_socket = "page.sock"\ntoken_file = "status.token"',
    )
    site.change_config(
        "[governor]",
        f'[alarms]\nwebhook_url = "http://127.0.0.1:{port}/"\nclear_after_s = 2.0\n'
        f'[homeassistant]\nbroker = "{site.broker}"\nevery_s = 1.0\n[governor]',
    )
    site.start_agent()
    listen = re.search(r'listen = "([^"]+)"', site.config.read_text())
    assert listen is not None
    url = f"http://{listen[1]}/api/v1/status"
    assert [status_of(url, shown) for shown in (None, "wrong", TOKEN)] == [401, 401, 200]
    assert json.loads(ask(site.directory / "page.sock", "/api/v1/status"))["farm"]
    with pytest.raises(RefusedError):
        ask(site.directory / "page.sock", "/control/v1/journal")

    events = receiver.RequestHandlerClass.events
    site.fault("miner_silent", [0])
    name = site.name_of(0)

    def has(event: str) -> bool:
        return any((one["event"], one["source"]) == (event, name) for one in events)

    site.wait_for(lambda: has("raised"), 40, "the receiver was not told")
    site.fault("miner_silent", [0], active=False)
    site.wait_for(lambda: has("cleared"), 40, "the receiver was not told of the end")
    blinked = site.kwota("locate", name, "--for", "1", "--json")
    assert (blinked.returncode, json.loads(blinked.stdout)["is_on"]) == (0, False)
    site.agent.stop()
    assert site.agent.process.returncode == 0
    journalled = {
        (record["d"]["event"], record["s"])
        for record in site.records("alarm")
        if record["s"] == name
    }
    assert journalled == {("raised", name), ("cleared", name)}
    assert not (site.directory / "page.sock").exists()
