"""Those outside the pool who are told of the site, where the configuration names them."""

from collections.abc import Callable, Iterator, Sequence

from agent.alarmboard import AlarmChange
from agent.alarms import Condition
from agent.broker import Credentials, parse_broker
from agent.homeassistant import HomeAssistant, HomeTarget
from agent.keys import KeyFileError, read_private_file
from agent.settings import Settings
from agent.status.view import SiteView
from agent.webhook import Webhook, WebhookTarget


def open_webhook(settings: Settings, now_ms: Callable[[], int]) -> Webhook | None:
    """Who is told of alarms; None where no receiver is named. Raises KeyFileError."""
    alarms, site = settings.alarms, settings.site
    if alarms.webhook_url is None:
        return None
    token = None
    if alarms.webhook_token_file is not None:
        content = read_private_file(alarms.webhook_token_file).partition(b"\n")[0].strip()
        token = content.decode("ascii", "replace")
        if not token or not token.isascii() or not token.isprintable():
            raise KeyFileError(
                f"{alarms.webhook_token_file} holds no token: write it into the first line."
            )
    target = WebhookTarget(url=alarms.webhook_url, farm=site.farm, agent=site.agent, token=token)
    return Webhook(target, now_ms=now_ms)


def open_homeassistant(
    settings: Settings,
    version: str,
    view: Callable[[], SiteView | None],
    is_healthy: Callable[[], bool],
) -> HomeAssistant | None:
    """The household's broker; None where none is named."""
    home = settings.homeassistant
    if home is None:
        return None
    target = HomeTarget(
        broker=parse_broker(home.broker.url),
        farm=settings.site.farm,
        agent=settings.site.agent,
        version=version,
        discovery_prefix=home.discovery_prefix,
        every_s=home.every_s,
        credentials=Credentials(
            ca_file=home.ca_file, username=home.user, password_file=home.password_file
        ),
    )
    return HomeAssistant(target, view, is_healthy=is_healthy)


def teller_of(webhook: Webhook | None) -> Callable[[Sequence[AlarmChange]], None]:
    """Where the tick puts what was raised or cleared."""
    return _keep_quiet if webhook is None else webhook.tell


def webhook_conditions(webhook: Webhook | None) -> Iterator[Condition]:
    """What is wrong with telling."""
    if webhook is not None:
        yield from webhook.conditions()


def _keep_quiet(_changes: Sequence[AlarmChange]) -> None:
    """Alarms stand on the page and in the journal; nobody else has asked for them."""
