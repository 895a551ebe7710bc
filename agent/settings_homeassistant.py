"""``[homeassistant]``: the household's own broker, where Home Assistant finds the site."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

from agent.settings_faults import FaultList, refusal, shown
from agent.settings_fields import BrokerText, LocalPath, SecretPath, Text, from_text

_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")


def topic_prefix(text: str) -> str:
    """One level of a topic."""
    if _PREFIX.fullmatch(text) is None:
        raise refusal(f"is {shown(text)}, not one level of a topic", "write homeassistant")
    return text


PrefixText = Annotated[str, from_text(topic_prefix)]
EveryS = Annotated[float, Field(strict=True, ge=1, le=60, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAssistantSettings:
    """``discovery_prefix`` is what Home Assistant's MQTT integration is set to."""

    broker: BrokerText
    discovery_prefix: PrefixText = "homeassistant"
    every_s: EveryS = 5.0
    user: Text | None = None
    password_file: SecretPath | None = None
    ca_file: LocalPath | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def check_homeassistant(found: FaultList, home: HomeAssistantSettings | None) -> None:
    """Note what its values say against each other."""
    if home is not None and home.password_file is not None and home.user is None:
        found.add("homeassistant.user", "is missing beside password_file", "name the user")
