"""Rests that grow, are bounded, and begin anew."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.backoff import Backoff, full_jitter

DRAWS = 2000


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


@settings(max_examples=25)
@given(least_s=st.floats(0.01, 10.0), most_s=st.floats(10.0, 120.0), attempts=st.integers(0, 12))
async def test_a_rest_is_drawn_evenly_from_all_that_the_bound_of_its_attempt_allows(
    least_s: float, most_s: float, attempts: int
) -> None:
    """By Kolmogorov and Smirnov; one even draw in a hundred million would be called uneven."""
    bounds_s: list[float] = []
    drawn_s: list[float] = []

    def noted(bound_s: float) -> float:
        bounds_s.append(bound_s)
        drawn_s.extend(sorted(full_jitter(bound_s) for _ in range(DRAWS)))
        return 0.0

    backoff = Backoff(least_s=least_s, most_s=most_s, jitter=noted)
    backoff.attempts = attempts
    await backoff.rest()
    (bound_s,) = bounds_s
    assert bound_s == min(least_s * 2**attempts, most_s)
    assert 0.0 <= drawn_s[0] <= drawn_s[-1] <= bound_s
    below = [(at / DRAWS, at_s / bound_s) for at, at_s in enumerate(drawn_s)]
    assert max(abs(share - place) for share, place in below) < 0.07
