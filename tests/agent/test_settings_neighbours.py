"""``[alarms]`` and ``[homeassistant]``: what is off unless it is named, and what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.settings import Settings, missing_files, parse_settings
from agent.settings_faults import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def parsed(**tables: Any) -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    return parse_settings(data | tables, SITE)


@pytest.mark.parametrize(
    ("tables", "key", "word"),
    [
        ({"alarms": {"raise_after_s": -1.0}}, "alarms.raise_after_s", "at least 0"),
        ({"alarms": {"clear_after_s": 601.0}}, "alarms.clear_after_s", "at most 600"),
        ({"alarms": {"webhook_url": "http://a.example/"}}, "alarms.webhook_url", "https"),
        ({"alarms": {"webhook_url": "https://u:p@a/"}}, "alarms.webhook_url", "token_file"),
        ({"alarms": {"webhook_token_file": "t"}}, "alarms.webhook_url", "missing"),
        ({"alarms": {"webhook": "x"}}, "alarms.webhook", "did you mean webhook_url?"),
        ({"homeassistant": {}}, "homeassistant.broker", "missing"),
        ({"homeassistant": {"broker": "http://a"}}, "homeassistant.broker", "mqtt"),
        (
            {"homeassistant": {"broker": "mqtt://a", "discovery_prefix": "a/#"}},
            "homeassistant.discovery_prefix",
            "one level",
        ),
        (
            {"homeassistant": {"broker": "mqtt://a", "password_file": "p"}},
            "homeassistant.user",
            "name the user",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(
    tables: dict[str, Any], key: str, word: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parsed(**tables)
    (fault,) = caught.value.faults
    assert fault.key == key
    assert word in f"{fault.reason}; {fault.remedy}"


def test_nobody_is_told_unless_the_configuration_names_somebody() -> None:
    settings = parsed()
    assert settings.homeassistant is None
    assert settings.alarms.webhook_url is None
    assert (settings.alarms.raise_after_s, settings.alarms.clear_after_s) == (2.0, 10.0)


def test_secrets_that_are_not_there_are_named_by_key() -> None:
    settings = parsed(
        alarms={"webhook_url": "https://a.example/", "webhook_token_file": "none"},
        homeassistant={"broker": "mqtt://10.1.0.9", "user": "kwota", "password_file": "none"},
    )
    missing = {fault.key for fault in missing_files(settings)}
    assert missing >= {"alarms.webhook_token_file", "homeassistant.password_file"}
