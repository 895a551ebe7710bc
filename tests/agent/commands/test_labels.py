"""The sheet of labels, from the daemon's own file."""

import json
import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
MINERS = """
[[miners]]
uri = "luxos://10.1.2.12"
mac = "62:f7:5e:b7:10:48"
id = "r10-s01"

[[miners]]
uri = "luxos://10.1.2.11"
mac = "62:f7:5e:b7:10:47"
id = "r2-s01"

[[miners]]
uri = "luxos://10.1.2.13"
mac = "62:f7:5e:b7:10:49"
id = "corner"
rack = "<i>container</i>"
"""


@pytest.fixture
def site_file(tmp_path: Path) -> str:
    for name in ("log.key", "pool-ca.pem", "edge.pem", "edge.key", "pool.vkey"):
        (tmp_path / name).touch()
    (tmp_path / "policy.kz.toml").write_bytes((REPO / "config" / "policy.kz.toml").read_bytes())
    file = tmp_path / "site.toml"
    file.write_text((REPO / "config" / "site.example.toml").read_text() + MINERS)
    return str(file)


def test_every_machine_has_a_label_with_its_link_in_the_order_of_the_racks(
    terminal, site_file: str
) -> None:
    shown = terminal.run("labels", "--config", site_file, "--url", "http://10.1.0.5:8480/")
    assert (shown.code, shown.err) == (0, "")
    links = re.findall(r'href="([^"]+)"', shown.out)
    assert len(links) == 4
    assert "http://10.1.0.5:8480/m/62f75eb71047" in links
    ids = re.findall(r"<b>([^<]+)</b>", shown.out)
    assert set(ids) == {"r1-s01", "r2-s01", "r10-s01", "corner"}
    assert ids.index("r1-s01") < ids.index("r2-s01") < ids.index("r10-s01")
    assert "&lt;i&gt;container" in shown.out
    assert not re.search(r"<script|<i>|<link|src=", shown.out)


def test_one_rack_can_be_printed_and_a_rack_that_is_none_is_said_so(
    terminal, site_file: str
) -> None:
    shown = terminal.run("labels", "--config", site_file, "--rack", "r2", "--json")
    (row,) = json.loads(shown.out)
    assert row == {
        "id": "r2-s01",
        "mac": "62:f7:5e:b7:10:47",
        "rack": "r2",
        "url": "http://127.0.0.1:8480/m/62f75eb71047",
    }
    shown = terminal.run("labels", "--config", site_file, "--rack", "r9")
    assert (shown.code, shown.out) == (1, "")


@pytest.mark.parametrize("url", ["10.1.0.5", "ftp://10.1.0.5", "http://", "http://x/?a=1"])
def test_an_address_that_is_none_is_refused_in_one_sentence(
    terminal, site_file: str, url: str
) -> None:
    shown = terminal.run("labels", "--config", site_file, "--url", url)
    assert shown.code == 2
    assert "write it like http://" in shown.err
