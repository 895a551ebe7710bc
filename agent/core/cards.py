"""The actuator cards of all families, each figure with where it comes from.

Sources are vendor papers, client libraries and field notes, by name and revision. A figure that no
source gives is marked as assumed: it is the worst end of what is known, to be overridden by the
machine's own confirmations. Common to all: a machine's watts lie within 5 % of its nameplate
(tolerance of the catalogues), control board and fans draw 60 to 100 W and a sleeper 20 to 60 W (no
vendor publishes either), and the daily limits are house rules against wear.
"""

from agent.core.card import NEVER_S, ActuatorCard, Move, Source, Steps

_BOARDS = frozenset({Move.BOARD_OFF, Move.BOARD_ON, Move.FIRST_BOARD})
_PROFILES = frozenset({Move.PROFILE_DOWN, Move.PROFILE_UP})
_WAKE = frozenset({Move.WAKE})
_WATTS = 0.05  # accuracy where nothing else is known
_TWO_NEVER_S = (NEVER_S, NEVER_S)


def _says(words: str, *figures: str) -> Source:
    return Source(figures=figures, words=words, is_confirmed=True)


def _assumed(words: str, *figures: str) -> Source:
    return Source(figures=figures, words=words, is_confirmed=False)


def _card(
    family: str,
    *sources: Source,
    steps: frozenset[Steps],
    board_s: tuple[float, float] = _TWO_NEVER_S,
    profile_s: tuple[float, float] = _TWO_NEVER_S,
    sleep_wake_s: tuple[float, float],
    accuracy_share: float = _WATTS,
    idle_w: float = 100.0,
    standby_w: float = 60.0,
    kept: frozenset[Steps] = frozenset(),
    restarting: frozenset[Move],
    dead_s: float,
    slow_changes_per_day: int = 24,
    stay_s: tuple[float, float],
) -> ActuatorCard:
    """A card from pairs: down before up, least time up before least time down."""
    common = [
        _assumed("control board and fans 60 to 100 W, asleep 20 to 60 W", "idle_w", "standby_w"),
        _assumed(
            "house rules: mining restarts once an hour on average, no flutter",
            *("restarts_per_day", "slow_changes_per_day", "min_on_s", "min_off_s"),
        ),
    ]
    if Steps.BOARDS not in steps:
        common.append(_says("no command for single boards", "board_off_s", "board_on_s"))
    if accuracy_share == _WATTS:
        common.append(_assumed("nameplates carry a tolerance of 5 %", "accuracy_share"))
    if not kept:
        common.append(_assumed("nothing is counted on to outlive a reboot", "kept"))
    return ActuatorCard(
        family=family,
        steps=steps | {Steps.SLEEP},
        board_off_s=board_s[0],
        board_on_s=board_s[1],
        profile_down_s=profile_s[0],
        profile_up_s=profile_s[1],
        sleep_s=sleep_wake_s[0],
        wake_s=sleep_wake_s[1],
        accuracy_share=accuracy_share,
        idle_w=idle_w,
        standby_w=standby_w,
        kept=kept,
        restarting=restarting,
        dead_s=dead_s,
        restarts_per_day=24,
        slow_changes_per_day=slow_changes_per_day,
        min_on_s=stay_s[0],
        min_off_s=stay_s[1],
        sources=(*common, *sources),
    )


LUXOS = _card(
    "luxos",
    _assumed("docs.luxor.tech gives no time for boards", "board_off_s", "board_on_s"),
    _assumed(
        "docs.luxor.tech, profiles: ramps, IsRamping while it does; no time given",
        *("profile_down_s", "profile_up_s"),
    ),
    _assumed(
        "docs.luxor.tech, curtail: sleep cuts the output, wakeup ramps like a reboot; the first"
        " board after none is taken for a wake; whether sleep outlives a reboot differs by version",
        *("sleep_s", "wake_s", "restarting", "dead_s"),
    ),
    steps=frozenset({Steps.BOARDS, Steps.PROFILES}),
    board_s=(5.0, 30.0),
    profile_s=(90.0, 90.0),
    sleep_wake_s=(10.0, 180.0),
    restarting=frozenset({Move.FIRST_BOARD, Move.WAKE}),
    dead_s=180.0,
    slow_changes_per_day=48,
    stay_s=(60.0, 10.0),
)

_WHATSMINER_V2 = _card(
    "whatsminer-v2",
    _says(
        "MicroBT API manual V2.2, set_power_pct: about 1 s with Fast Boot on; a machine without it"
        " counts as whatsminer-v2-limit",
        *("profile_down_s", "profile_up_s"),
    ),
    _assumed("MicroBT API manual V2.2: power_off in seconds", "sleep_s"),
    _says("WhatsMiner_Curtailment notes: 6 to 15 min to full hashrate", "wake_s"),
    _assumed("to start is to mine anew; first hashes well within the ramp", "restarting", "dead_s"),
    _assumed("MicroBT API manual V2.2: percent is approximate", "accuracy_share"),
    steps=frozenset({Steps.PERCENT}),
    profile_s=(15.0, 15.0),
    sleep_wake_s=(20.0, 900.0),
    accuracy_share=0.10,
    restarting=_WAKE,
    dead_s=300.0,
    stay_s=(600.0, 60.0),
)

_WHATSMINER_V2_LIMIT = _card(
    "whatsminer-v2-limit",
    _says(
        "ha-integration-whatsminer: adjust_power_limit restarts, 60 s at 0 W, 600 s between"
        " changes; WhatsMiner_Curtailment notes: 6 to 15 min to full hashrate",
        *("profile_down_s", "profile_up_s", "wake_s", "restarting"),
    ),
    _says("MicroBT API manual V2.2: the limit is stored in flash", "kept"),
    _assumed("60 s at 0 W, and first hashes well within the ramp", "dead_s"),
    _assumed("MicroBT API manual V2.2: power_off in seconds", "sleep_s"),
    steps=frozenset({Steps.WATTS}),
    profile_s=(600.0, 900.0),
    sleep_wake_s=(20.0, 900.0),
    kept=frozenset({Steps.WATTS}),
    restarting=_PROFILES | _WAKE,
    dead_s=300.0,
    stay_s=(600.0, 60.0),
)

_WHATSMINER_V3 = _card(
    "whatsminer-v3",
    _says(
        "MicroBT API manual V2.2, power_percent fast: about 1 s with Fast Boot on; a machine"
        " without it counts as whatsminer-v2-limit",
        *("profile_down_s", "profile_up_s"),
    ),
    _says(
        "ha-integration-whatsminer, M64: 0 TH/s within 15 s of a stop; holds only where"
        " time_randomized is 0, which else adds up to 120 s",
        "sleep_s",
    ),
    _says("WhatsMiner_Curtailment notes: 6 to 15 min to full hashrate", "wake_s"),
    _assumed("to start is to mine anew; first hashes well within the ramp", "restarting", "dead_s"),
    _assumed("MicroBT API manual V2.2: percent is approximate", "accuracy_share"),
    steps=frozenset({Steps.PERCENT}),
    profile_s=(15.0, 15.0),
    sleep_wake_s=(20.0, 900.0),
    accuracy_share=0.10,
    restarting=_WAKE,
    dead_s=300.0,
    stay_s=(600.0, 60.0),
)

_ANTMINER = _card(
    "antminer",
    _assumed(
        "asic-rs PR 249: the answer takes 21 s; one unit had not dropped after 60 s and needed a"
        " reboot, such a one counts as not obeying",
        "sleep_s",
    ),
    _assumed(
        "the back end restarts with the mode; a reboot takes 2 to 3 min (mos-antminer), and a ramp",
        *("wake_s", "profile_down_s", "profile_up_s", "restarting", "dead_s"),
    ),
    # For the flash's sake the driver raises nothing within 15 min of a change: nor does a plan.
    _says("asic-rs PR 249: modes are written to flash", "kept"),
    steps=frozenset({Steps.PROFILES}),
    profile_s=(420.0, 420.0),
    sleep_wake_s=(120.0, 600.0),
    kept=frozenset({Steps.PROFILES, Steps.SLEEP}),
    restarting=_PROFILES | _WAKE,
    dead_s=300.0,
    stay_s=(900.0, 900.0),
)

_AVALON = _card(
    "avalon",
    _assumed("Canaan's A10 manual has softoff and no time for it", "sleep_s"),
    _says("Canaan's A10 manual: settles 5 to 10 min after a change", "wake_s"),
    _says(
        "Canaan's A10 manual: workmode needs a reboot and outlives it",
        *("profile_down_s", "profile_up_s", "restarting", "kept"),
    ),
    _assumed("first hashes well before it has settled", "dead_s"),
    steps=frozenset({Steps.PROFILES}),
    profile_s=(480.0, 480.0),
    sleep_wake_s=(20.0, 600.0),
    kept=frozenset({Steps.PROFILES}),
    restarting=_PROFILES | _WAKE,
    dead_s=300.0,
    stay_s=(600.0, 60.0),
)

_BRAIINS = _card(
    "braiins",
    _assumed(
        "Braiins changelog of API 1.0.0-beta.2 has the call and no time; mining may restart, the"
        " other boards come back only then",
        *("board_off_s", "board_on_s", "restarting", "dead_s"),
    ),
    _says(
        "hass-miner 586: from 771 W towards 3000 W tens of minutes, without a restart",
        *("profile_down_s", "profile_up_s"),
    ),
    _says("Braiins REST OpenAPI 1.7.0, quick ramping: 2 s down, 5 s up", "sleep_s", "wake_s"),
    _says("Braiins changelog: power targets persist", "kept"),
    steps=frozenset({Steps.BOARDS, Steps.WATTS}),
    board_s=(60.0, 60.0),
    profile_s=(600.0, 1800.0),
    sleep_wake_s=(10.0, 60.0),
    kept=frozenset({Steps.WATTS}),
    restarting=_BOARDS | _WAKE,
    dead_s=60.0,
    stay_s=(60.0, 10.0),
)

_VNISH = _card(
    "vnish",
    _assumed(
        "VNish API 1.3.4: a board is a setting that answers restart_required; the other boards come"
        " back only then",
        *("board_off_s", "board_on_s", "restarting", "dead_s"),
    ),
    _assumed("hass-miner 598: throttle is live, no time given", "profile_down_s", "profile_up_s"),
    _assumed("VNish API 1.3.4: pause and resume, no time given", "sleep_s", "wake_s"),
    _says("VNish API 1.3.4: board settings are stored, throttle is not", "kept"),
    steps=frozenset({Steps.BOARDS, Steps.PERCENT}),
    board_s=(180.0, 180.0),
    profile_s=(15.0, 15.0),
    sleep_wake_s=(15.0, 180.0),
    kept=frozenset({Steps.BOARDS}),
    restarting=_BOARDS | _WAKE,
    dead_s=120.0,
    stay_s=(60.0, 10.0),
)

_EPIC = _card(
    "epic",
    _assumed("PowerPlay API 1.30.0, boardenable: no time given", "board_off_s", "board_on_s"),
    _assumed("PowerPlay API 1.30.0, Stop and Autostart: no time given", "sleep_s", "wake_s"),
    _assumed("the first board after none is taken for a start", "restarting", "dead_s"),
    _says(
        "PowerPlay API 1.30.0: tunes to watts by itself, no list", "profile_down_s", "profile_up_s"
    ),
    steps=frozenset({Steps.BOARDS}),
    board_s=(10.0, 90.0),
    sleep_wake_s=(20.0, 300.0),
    restarting=frozenset({Move.FIRST_BOARD, Move.WAKE}),
    dead_s=180.0,
    stay_s=(60.0, 10.0),
)

_AURADINE = _card(
    "auradine",
    _assumed(
        "FluxOS API, mode custom and sleep: no time is published",
        *("profile_down_s", "profile_up_s", "sleep_s", "wake_s", "restarting", "dead_s"),
    ),
    steps=frozenset({Steps.WATTS}),
    profile_s=(240.0, 240.0),
    sleep_wake_s=(20.0, 300.0),
    restarting=_WAKE,
    dead_s=180.0,
    stay_s=(60.0, 30.0),
)

_BITAXE = _card(
    "bitaxe",
    _says(
        "ESP-Miner power_management_task.c: acts within a loop of 100 ms",
        *("profile_down_s", "profile_up_s", "sleep_s"),
    ),
    _assumed("the ASIC is initialised anew in seconds", "wake_s", "restarting", "dead_s"),
    _says("ESP-Miner openapi.yaml: frequency is stored, pause is not", "kept"),
    steps=frozenset({Steps.PROFILES}),
    profile_s=(5.0, 5.0),
    sleep_wake_s=(5.0, 30.0),
    idle_w=5.0,
    standby_w=5.0,
    kept=frozenset({Steps.PROFILES}),
    restarting=_WAKE,
    dead_s=30.0,
    slow_changes_per_day=48,
    stay_s=(30.0, 10.0),
)

_PROTO = _card(
    "proto",
    _assumed(
        "MDK-API 1.8.2: target, stop and start are asynchronous, no time is published",
        *("profile_down_s", "profile_up_s", "sleep_s", "wake_s", "restarting", "dead_s"),
    ),
    steps=frozenset({Steps.WATTS}),
    profile_s=(120.0, 120.0),
    sleep_wake_s=(20.0, 240.0),
    restarting=_WAKE,
    dead_s=180.0,
    stay_s=(60.0, 30.0),
)

CARDS = {
    card.family: card
    for card in (
        *(LUXOS, _WHATSMINER_V2, _WHATSMINER_V2_LIMIT, _WHATSMINER_V3, _ANTMINER, _AVALON),
        *(_BRAIINS, _VNISH, _EPIC, _AURADINE, _BITAXE, _PROTO),
    )
}
