"""The verb that prints what is glued onto machines and racks: ``labels``."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import segno
import typer

from agent.commands.console import Code, CommandError, JsonOption, print_json, print_text, say
from agent.settings import load_settings
from agent.settings_devices import MinerSettings
from agent.settings_faults import SettingsError
from agent.settings_status import StatusSettings
from agent.status.rack import rack_of

_LINE: Final = "\n"
# ISO/IEC 18004: level H still reads with nearly a third of its words lost under dust and scratches,
# and a reader finds a code only inside four modules of white.
_QR_LEVEL: Final = "h"
_QUIET_MODULES: Final = 4
_STYLE: Final = """
@page { margin: 8mm }
body { margin: 0; font: 10pt system-ui, sans-serif; color: #000; background: #fff }
h2 { font-size: 12pt; margin: 4mm 0 2mm; break-after: avoid }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 2mm;
  grid-template-columns: repeat(auto-fill, minmax(86mm, 1fr)) }
li { border: .3mm dashed #777; padding: 1mm; break-inside: avoid }
b { display: block; font-size: 15pt; overflow-wrap: anywhere }
small { display: block; font-family: monospace; font-size: 8pt; overflow-wrap: anywhere }
a { color: inherit; text-decoration: none; display: flex; gap: 2mm; align-items: center }
svg { flex: none; width: 34mm; height: 34mm; background: #fff; print-color-adjust: exact }
""".strip()


def labels(
    *,
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="The daemon's file, with its machines.")
    ],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Where telephones reach the page. Without it: the first of [status] hosts, "
            "else its listen.",
        ),
    ] = None,
    rack: Annotated[
        str | None, typer.Option("--rack", metavar="RACK", help="Only the machines of this rack.")
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Print a sheet of labels, one per machine, as HTML for a browser's printer.

    A label has the machine's id, its MAC and the link that shows it on the page, also as a QR
    code. Asks no daemon.

    Exit 0: printed; 1: there is no machine to print; 2: the file or the address is wrong.
    """
    try:
        settings = load_settings(config)
    except SettingsError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    base = _base(page_address(settings.status) if url is None else url)
    chosen = [miner for miner in settings.miners if rack in (None, rack_of(miner.id, miner.rack))]
    if not chosen:
        raise CommandError("there is no such machine in the file", Code.NEGATIVE)
    chosen.sort(key=_place)
    if url is None and not settings.status.is_reachable and not settings.status.hosts:
        say(
            f"no telephone reaches {base}, which the labels name: give --url, or [status] listen "
            "and hosts (docs/access.md)"
        )
    if is_json:
        print_json([_row(miner, base) for miner in chosen])
    else:
        print_text(sheet(settings.site.farm, chosen, base))


def sheet(farm: str, miners: Sequence[MinerSettings], base: str) -> str:
    """The document to print; what stands in the file stays text in it."""
    racks: dict[str, list[str]] = {}
    for miner in miners:
        row = {name: html.escape(text or "") for name, text in _row(miner, base).items()}
        words = f"<b>{row['id']}</b><small>{row['mac']}</small><small>{row['url']}</small>"
        label = f"{_code(link_of(miner, base))}<div>{words}</div>"
        racks.setdefault(row["rack"], []).append(f'<li><a href="{row["url"]}">{label}</a></li>')
    parts = [f"<h2>{name}</h2>\n<ul>\n{_LINE.join(rows)}\n</ul>" for name, rows in racks.items()]
    title = f"{html.escape(farm)} · kwota"
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>\n{_STYLE}\n</style>'
    body = f"<h1>{title}</h1>\n" + "\n".join(parts)
    whole = f"<head>\n{head}\n</head>\n<body>\n{body}\n</body>"
    return f'<!doctype html>\n<html lang="en">\n{whole}\n</html>\n'


def link_of(miner: MinerSettings, base: str) -> str:
    return f"{base}/m/{miner.mac.replace(':', '')}"


def page_address(status: StatusSettings) -> str:
    """Where the file says that others reach the page; the port of a name is that of ``listen``."""
    scheme = "http" if status.tls_cert_file is None else "https"
    if not status.hosts:
        return f"{scheme}://{status.listen}"
    name = status.hosts[0]
    has_port = ":" in name.rpartition("]")[2]
    return f"{scheme}://{name}" if has_port else f"{scheme}://{name}:{status.listen.port}"


def _code(link: str) -> str:
    """The link as a picture inside the document: it needs no file and no network."""
    code = segno.make_qr(link, error=_QR_LEVEL)
    return code.svg_inline(border=_QUIET_MODULES, omitsize=True, svgclass=None, lineclass=None)


def _row(miner: MinerSettings, base: str) -> dict[str, str | None]:
    place = rack_of(miner.id, miner.rack)
    return {"id": miner.id, "mac": miner.mac, "rack": place, "url": link_of(miner, base)}


def _base(url: str) -> str:
    """The address before ``/m/``. Raises CommandError where it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        sentence = f"{url!r} is no address of a page: write it like http://10.1.0.5:8480"
        raise CommandError(sentence, Code.WRONG_INPUT)
    return url.rstrip("/")


def _place(miner: MinerSettings) -> tuple[bool, list[tuple[int, str]]]:
    """As people count: r2 before r10, and without a rack at the end."""
    rack = rack_of(miner.id, miner.rack)
    words = re.split(r"([0-9]+)", f"{rack or ''} {miner.id}")
    return rack is None, [(int(word), "") if word.isdigit() else (-1, word) for word in words]
