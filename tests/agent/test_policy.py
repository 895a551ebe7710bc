import tomllib
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.policy import load_policy, parse_policy
from agent.settings_faults import SettingsError

FILE = Path(__file__).parents[2] / "config" / "policy.kz.toml"


def row(valid_from: object, energy_wh: object = 1_000_000) -> dict[str, Any]:
    cap = {"energy_wh": energy_wh, "status": "claimed", "source": "a paper"}
    return {"valid_from": valid_from, "note": "n", "transaction_cap": cap}


def keys_of(data: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_policy(data, Path("/p.toml"))
    return [fault.key for fault in caught.value.faults]


def test_the_policy_of_kazakhstan_holds_the_cap_as_a_claim_with_its_source() -> None:
    version = load_policy(FILE).at(date(2026, 11, 21))
    assert version.transaction_cap.energy_wh == 1_000_000
    assert version.transaction_cap.status == "claimed"
    assert version.transaction_cap.source


def test_no_fee_is_presented_as_confirmed_and_no_pool_as_accredited() -> None:
    version = load_policy(FILE).at(date(2026, 11, 21))
    assert version.fees
    assert {fee.status for fee in version.fees} == {"unconfirmed"}
    assert {share.status for share in version.required_shares} == {"unconfirmed"}
    assert version.accredited_pools == ()


def test_a_day_is_judged_by_the_newest_version_that_is_not_younger() -> None:
    rows = [row(date(2027, 1, 1), 3), row(date(2025, 1, 1), 1), row(date(2026, 1, 1), 2)]
    policy = parse_policy({"country": "KZ", "versions": rows}, Path("/p.toml"))
    days = [date(2025, 1, 1), date(2025, 12, 31), date(2026, 1, 1), date(2030, 1, 1)]
    assert [policy.at(day).transaction_cap.energy_wh for day in days] == [1, 1, 2, 3]


def test_a_day_before_the_first_version_is_a_fault_and_not_a_guess() -> None:
    policy = parse_policy({"country": "KZ", "versions": [row(date(2025, 1, 1))]}, Path("/p.toml"))
    with pytest.raises(SettingsError, match="no version for 2024-12-31"):
        policy.at(date(2024, 12, 31))


def test_every_fault_of_a_policy_is_reported_at_once() -> None:
    bad = row(date(2026, 1, 1), 0) | {
        "fees": [{"basis": "price", "fee_kzt_per_kwh": 2.5, "status": "sure", "source": "x"}],
        "accredited_pools": [{"name": "P", "hosts": [], "source": "x"}],
        "required_shares": [{"name": "s", "share": "1.1", "status": "claimed", "source": "x"}],
        "extra": 1,
    }
    data = {"country": "kz", "vresions": [], "versions": [bad, row("2026-01-01"), 5]}
    assert sorted(keys_of(data)) == [
        "country",
        "versions[0].accredited_pools[0].hosts",
        "versions[0].extra",
        "versions[0].fees[0].fee_kzt_per_kwh",
        "versions[0].fees[0].status",
        "versions[0].required_shares[0].share",
        "versions[0].transaction_cap.energy_wh",
        "versions[1].valid_from",
        "versions[2]",
        "vresions",
    ]


def test_two_versions_of_one_day_and_two_rates_of_one_basis_are_faults() -> None:
    fee = {"basis": "meter_missing", "fee_kzt_per_kwh": "25", "status": "claimed", "source": "x"}
    twice = row(date(2026, 1, 1)) | {"fees": [fee, fee]}
    data = {"country": "KZ", "versions": [row(date(2026, 1, 1)), twice]}
    assert keys_of(data) == ["versions[1].valid_from", "versions[1].fees[1]"]


def test_a_price_limit_belongs_to_rates_by_price_and_to_no_other() -> None:
    fee = {"fee_kzt_per_kwh": "25", "status": "claimed", "source": "x"}
    fees = [
        fee | {"basis": "price"},
        fee | {"basis": "renewable_own", "price_from_kzt_per_kwh": "1"},
        fee | {"basis": "price", "price_from_kzt_per_kwh": "24"},
    ]
    data = {"country": "KZ", "versions": [row(date(2026, 1, 1)) | {"fees": fees}]}
    assert keys_of(data) == [
        "versions[0].fees[0].price_from_kzt_per_kwh",
        "versions[0].fees[1].price_from_kzt_per_kwh",
    ]


def test_a_fee_is_exact_decimal_text() -> None:
    version = load_policy(FILE).at(date(2026, 1, 1))
    assert version.fees[0].fee_kzt_per_kwh == Decimal(25)
    for wrong in ("1e3", "-1", "", "1,5", "NaN", "1_0", "."):
        fee = {"basis": "meter_missing", "fee_kzt_per_kwh": wrong, "status": "claimed"}
        bad = row(date(2026, 1, 1)) | {"fees": [fee | {"source": "x"}]}
        assert keys_of({"country": "KZ", "versions": [bad]}) == [
            "versions[0].fees[0].fee_kzt_per_kwh"
        ]


def test_a_time_is_no_day_and_an_empty_policy_is_none() -> None:
    moment = tomllib.loads("a = 2026-01-01T00:00:00Z")["a"]
    assert isinstance(moment, datetime)
    assert keys_of({"country": "KZ", "versions": [row(moment)]}) == ["versions[0].valid_from"]
    nothings: tuple[object, ...] = ({}, [], "x", None)
    for nothing in nothings:
        assert keys_of({"country": "KZ", "versions": nothing}) == ["versions"]
