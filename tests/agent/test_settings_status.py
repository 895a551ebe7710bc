"""``[status]``: what an address that others can reach needs, said at once and with the way out."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.settings import Settings, missing_files, parse_settings
from agent.settings_faults import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def parsed(table: dict[str, Any]) -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    return parse_settings(data | {"status": table}, SITE)


@pytest.mark.parametrize(
    ("table", "key", "word"),
    [
        ({"listen": "host.example:80"}, "status.listen", "address:port"),
        ({"listen": "10.1.0.5:80", "token_file": "t"}, "status.hosts", "name of its own"),
        ({"hosts": ["a b"]}, "status.hosts[0]", "address line"),
        ({"hosts": ["http://a"]}, "status.hosts[0]", "address line"),
        ({"hosts": ["a:0"]}, "status.hosts[0]", "port"),
        ({"tls_cert_file": "c"}, "status.tls_key_file", "partner"),
        ({"tls_key_file": "k"}, "status.tls_cert_file", "partner"),
        ({"client_ca_file": "c"}, "status.client_ca_file", "TLS"),
        ({"socket": "s", "page_socket": "s"}, "status.page_socket", "same"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_key(
    table: dict[str, Any], key: str, word: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(table)
    (fault,) = caught.value.faults
    assert fault.key == key
    assert word in f"{fault.reason}; {fault.remedy}"


def test_an_address_with_proof_and_names_is_taken() -> None:
    status = parsed(
        {
            "listen": "[2001:db8::5]:443",
            "hosts": ["Kwota.Farm.example", "[2001:db8::5]", "10.1.0.5:8480"],
            "token_file": "status.token",
        }
    ).status
    assert status.is_reachable
    assert status.hosts == ("kwota.farm.example", "[2001:db8::5]", "10.1.0.5:8480")
    assert status.token_file == SITE.parent / "status.token"
    assert not parsed({"listen": "127.9.9.9:1"}).status.is_reachable


def test_files_that_are_not_there_are_named_by_key() -> None:
    settings = parsed({"token_file": "no-such-token"})
    assert "status.token_file" in {fault.key for fault in missing_files(settings)}
