"""What proves that a contactor has dropped: watts at the meter, and silence behind it."""

import pytest

from agent.core.snapshot import MeterView, MinerView
from agent.feedproof import (
    PROOF_S,
    SETTLE_S,
    SILENT_S,
    Baseline,
    Gone,
    Proof,
    baseline_of,
    proven,
)
from drivers.readings import Activity, MeterReading, MinerReading, PowerProvenance

OFF_S = 100.0
BEFORE = Baseline(meter_w=50_000.0, behind_w=20_000.0, beside_w=25_000.0)


def meter(power_w: float, at_s: float, fault: str | None = None) -> MeterView:
    reading = MeterReading(
        meter_id="site",
        requested_at_s=at_s,
        replied_at_s=at_s,
        taken_at_ms=0,
        power_w=power_w,
        energy_import_wh=0,
        voltage_v=None,
        frequency_hz=None,
    )
    return MeterView(meter_id="site", reading=reading, missed_polls=0, fault=fault)


def miner(name: str, power_w: float | None, at_s: float) -> MinerView:
    reading = MinerReading(
        miner_id=name,
        requested_at_s=at_s,
        replied_at_s=at_s,
        taken_at_ms=0,
        activity=Activity.HASHING,
        hashrate_hs=0.0,
        power_w=power_w,
        power_provenance=PowerProvenance.FIRMWARE_ESTIMATE,
        profile=None,
        boards=(),
    )
    return MinerView(
        miner_id=name,
        family="luxos",
        identity=None,
        profiles=(),
        reading=reading,
        pending=None,
        fault=None,
        can_switch_boards=True,
        can_sleep=True,
        can_select_profile=True,
    )


BEHIND = [miner("deaf", 20_000.0, 99.0)]


def verdict(
    power_w: float,
    *,
    beside_w: float = 25_000.0,
    after_s: float = SETTLE_S + 0.5,
    behind: list[MinerView] = BEHIND,
    before: Baseline | None = BEFORE,
    is_proven: bool = False,
) -> Proof:
    now_s = OFF_S + after_s
    beside = [miner("obeys", beside_w, now_s)]
    gone = Gone(off_at_s=OFF_S, baseline=before)
    proof, words = proven(gone, meter(power_w, now_s), behind, beside, now_s, is_proven=is_proven)
    assert bool(words) is (proof is Proof.DOUBTED)
    return proof


def test_watts_that_went_at_the_meter_are_proof() -> None:
    assert verdict(30_000.0) is Proof.PROVEN


def test_a_sample_from_before_the_contactor_could_drop_proves_nothing() -> None:
    assert verdict(30_000.0, after_s=SETTLE_S) is Proof.AWAITED


def test_watts_that_others_gave_up_are_no_proof() -> None:
    """All who obey stop at the same time: the meter falls as much as if the feed had gone."""
    assert verdict(30_000.0, beside_w=5_000.0) is Proof.AWAITED
    assert verdict(30_000.0, beside_w=5_000.0, after_s=PROOF_S) is Proof.DOUBTED


def test_others_that_rise_meanwhile_do_not_hide_it() -> None:
    assert verdict(45_000.0, beside_w=40_000.0) is Proof.PROVEN


def test_a_meter_that_shows_no_fall_is_a_doubt_in_time() -> None:
    assert verdict(50_000.0, after_s=PROOF_S - 0.1) is Proof.AWAITED
    assert verdict(50_000.0, after_s=PROOF_S) is Proof.DOUBTED


def test_a_silent_meter_proves_nothing() -> None:
    gone = Gone(off_at_s=OFF_S, baseline=BEFORE)
    assert proven(gone, None, BEHIND, [], OFF_S + PROOF_S)[0] is Proof.DOUBTED


@pytest.mark.parametrize("is_proven", [False, True])
def test_a_machine_behind_it_that_answers_outweighs_the_meter(is_proven: bool) -> None:
    alive = [miner("deaf", 20_000.0, OFF_S + SETTLE_S + 0.1)]
    assert verdict(30_000.0, behind=alive, is_proven=is_proven) is Proof.DOUBTED


def test_an_answer_that_was_on_its_way_is_no_doubt() -> None:
    late = [miner("deaf", 20_000.0, OFF_S + 0.5)]
    assert verdict(30_000.0, behind=late) is Proof.PROVEN


def test_what_was_proven_stays_so_whatever_the_meter_does_later() -> None:
    assert verdict(70_000.0, after_s=600.0, is_proven=True) is Proof.PROVEN


@pytest.mark.parametrize(
    "before", [None, Baseline(meter_w=50_000.0, behind_w=900.0, beside_w=40_000.0)]
)
def test_where_the_meter_cannot_tell_silence_has_to_do(before: Baseline | None) -> None:
    assert verdict(50_000.0, after_s=SILENT_S - 0.1, before=before) is Proof.AWAITED
    assert verdict(50_000.0, after_s=SILENT_S, before=before) is Proof.PROVEN
    alive = [miner("deaf", 25.0, OFF_S + 5.0)]
    assert verdict(50_000.0, after_s=60.0, before=before, behind=alive) is Proof.DOUBTED


def test_a_meter_in_trouble_is_no_baseline() -> None:
    assert baseline_of(None, [], []) is None
    assert baseline_of(meter(1.0, 1.0, fault="it is silent"), [], []) is None
    seen = baseline_of(meter(9.0, 1.0), [miner("a", 4.0, 1.0), miner("b", None, 1.0)], [])
    assert seen == Baseline(meter_w=9.0, behind_w=4.0, beside_w=0.0)
