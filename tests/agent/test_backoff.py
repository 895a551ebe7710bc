"""Rests that grow, are bounded, and begin anew."""

from agent.backoff import Backoff, full_jitter


async def test_a_rest_may_double_up_to_its_bound_and_is_short_again_when_all_was_well() -> None:
    bounds_s: list[float] = []

    def noted(bound_s: float) -> float:
        bounds_s.append(bound_s)
        return 0.0

    backoff = Backoff(least_s=1.0, most_s=20.0, jitter=noted)
    for _ in range(7):
        await backoff.rest()
    assert bounds_s == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]
    assert backoff.attempts == 7
    backoff.reset()
    await backoff.rest()
    assert bounds_s[-1] == 1.0
    for _ in range(3000):  # a year without a peer is no number too large
        await backoff.rest()
    assert bounds_s[-1] == 20.0


def test_a_rest_is_drawn_from_all_that_the_bound_allows() -> None:
    drawn_s = [full_jitter(8.0) for _ in range(2000)]
    assert 0.0 <= min(drawn_s) < 0.5
    assert 7.5 < max(drawn_s) <= 8.0
