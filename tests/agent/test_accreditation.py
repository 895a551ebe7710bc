"""Which pools the policy allows: by host, with unknown told apart from no."""

from datetime import date
from pathlib import Path

import pytest

from agent.accreditation import Accreditation, accreditation_on, pool_host
from agent.policy import load_policy

LISTED = Accreditation(hosts=frozenset({"pool.example", "btc.other.example"}))


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("stratum+tcp://pool.example:3333", True),
        ("stratum+tcp://POOL.Example.:3333", True),
        ("stratum2+tcp://kz.pool.example:3336/key", True),
        ("pool.example:3333", True),
        ("stratum+tcp://mypool.example:3333", False),
        ("stratum+tcp://pool.example.evil.test:3333", False),
        ("stratum+tcp://evil.test/pool.example", False),
        ("stratum+tcp://other.example:3333", False),
        ("stratum+tcp://[pool.example:3333", False),
        ("", False),
    ],
)
def test_a_pool_is_allowed_by_its_host_or_a_part_of_it(url: str, is_allowed: bool) -> None:
    assert LISTED.allows(url) is is_allowed


def test_without_a_list_nothing_is_known() -> None:
    assert Accreditation(hosts=frozenset()).allows("stratum+tcp://pool.example:3333") is None


def test_the_host_is_found_with_a_scheme_and_without() -> None:
    assert pool_host("stratum+ssl://a.example:443") == pool_host("a.example:443") == "a.example"


def test_the_list_is_that_of_the_day(tmp_path: Path) -> None:
    listed = """
        [[versions.accredited_pools]]
        name = "P"
        hosts = ["Pool.Example"]
        source = "s"
    """
    versions = [
        f"""
        [[versions]]
        valid_from = {day}
        note = "n"
        [versions.transaction_cap]
        energy_wh = 1_000_000
        status = "unconfirmed"
        source = "s"
        {pools}"""
        for day, pools in (("2023-01-01", ""), ("2026-01-01", listed))
    ]
    path = tmp_path / "policy.toml"
    path.write_text('country = "KZ"\n' + "\n".join(versions))
    policy = load_policy(path)
    assert accreditation_on(policy, date(2022, 1, 1)).hosts == frozenset()
    assert accreditation_on(policy, date(2025, 12, 31)).hosts == frozenset()
    assert accreditation_on(policy, date(2026, 1, 1)).hosts == {"pool.example"}
