"""``[alarms]``: how long a trouble must last to be one, and whom to tell of it besides the page."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from agent.settings_faults import FaultList, refusal, shown
from agent.settings_fields import SecretPath, from_text

URL_CHARS_MAX = 500


def webhook_url(text: str) -> str:
    """Where alarms are posted: https, or plain http on this machine."""
    remedy = "write https://host/path, or http://127.0.0.1:port/path"
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise refusal(f"is {shown(text)}, not a URL", remedy) from None
    if len(text) > URL_CHARS_MAX or not text.isprintable() or " " in text or not is_whole:
        raise refusal(f"is {shown(text)}, not a URL", remedy)
    if parts.username is not None or parts.password is not None:
        remedy = "put the token into a file and name it in webhook_token_file"
        raise refusal("carries a user name or password, which never belong into a URL", remedy)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname or "")):
        raise refusal("is neither https nor http on this machine: others could read it", remedy)
    return text


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


WebhookUrl = Annotated[str, from_text(webhook_url)]
RaiseS = Annotated[float, Field(strict=True, ge=0, le=60, allow_inf_nan=False)]
ClearS = Annotated[float, Field(strict=True, ge=0, le=600, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """A warning stands once it has lasted ``raise_after_s``; what is critical stands at once.

    Whatever stands is cleared once it has been gone for ``clear_after_s``.
    """

    raise_after_s: RaiseS = 2.0
    clear_after_s: ClearS = 10.0
    webhook_url: WebhookUrl | None = None
    webhook_token_file: SecretPath | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def check_alarms(found: FaultList, alarms: AlarmSettings | None) -> None:
    """Note what its values say against each other."""
    if alarms is not None and alarms.webhook_url is None and alarms.webhook_token_file is not None:
        found.add("alarms.webhook_url", "is missing beside webhook_token_file", "name the receiver")
