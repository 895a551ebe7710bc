"""Read plans: argued over any map, and compared with the best of all plans on small ones."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.meters.plan import (
    REQUEST_COST,
    Layout,
    PlanError,
    Span,
    Stretch,
    compile_plan,
    plan_cost,
)


def span(key: str, address: int, count: int = 2, function: int = 4) -> Span:
    return Span(key=key, function=function, address=address, count=count)


@st.composite
def maps(draw: st.DrawFn, *, most: int = 12) -> tuple[list[Span], Layout]:
    """Registers that do not overlap, at aligned addresses, outside holes and beside barriers."""
    alignment = draw(st.sampled_from([1, 2, 4]))
    at, spans, free = 0, [], []
    for number in range(draw(st.integers(1, most))):
        at += alignment * draw(st.integers(0, 40))
        count = alignment * draw(st.integers(1, max(1, 4 // alignment)))
        spans.append(span(f"q{number}", at, count, draw(st.sampled_from([3, 4]))))
        free.append((at + count, at + count + alignment - 1))
        at += count + alignment
    holes = draw(st.lists(st.sampled_from(free), unique=True, max_size=3))
    barriers = draw(st.lists(st.sampled_from([one.address for one in spans]), max_size=3))
    layout = Layout(
        register_limit=draw(st.integers(4, 125)),
        alignment=alignment,
        gap_limit=draw(st.integers(0, 125)),
        holes=tuple(holes),
        barriers=tuple(barriers),
    )
    return draw(st.permutations(spans)), layout


def touched(stretch: Stretch) -> range:
    return range(stretch.address, stretch.address + stretch.count)


@given(maps(), st.lists(st.sampled_from(["q0", "q1", "q2"]), unique=True, max_size=2))
def test_every_wanted_register_is_read_once_and_no_rule_is_broken(
    case: tuple[list[Span], Layout], lead: list[str]
) -> None:
    spans, layout = case
    plan = compile_plan(spans, layout, lead=lead)
    assert sorted(s.key for stretch in plan for s in stretch.spans) == sorted(s.key for s in spans)
    for stretch in plan:
        for one in stretch.spans:
            assert one.function == stretch.function
            assert one.address in touched(stretch)
            assert one.end - 1 in touched(stretch)
        assert 1 <= stretch.count <= layout.register_limit
        assert stretch.address % layout.alignment == stretch.count % layout.alignment == 0
        for first, last in layout.holes:
            assert not set(range(first, last + 1)) & set(touched(stretch))
        for barrier in layout.barriers:
            assert barrier not in touched(stretch)[1:]
        reached = stretch.address
        for one in sorted(stretch.spans, key=lambda s: s.address):
            assert one.address - reached <= layout.gap_limit
            reached = one.end


@given(maps())
def test_a_plan_never_costs_more_than_one_request_for_each_register(
    case: tuple[list[Span], Layout],
) -> None:
    spans, layout = case
    plan = compile_plan(spans, layout)
    assert plan_cost(plan) <= sum(REQUEST_COST + one.count for one in spans)
    assert len(plan) <= len(spans)


def ways_to_cut(row: list[Span]) -> Iterator[list[list[Span]]]:
    if not row:
        yield []
    for size in range(1, len(row) + 1):
        for rest in ways_to_cut(row[size:]):
            yield [row[:size], *rest]


def cost_of(part: list[Span], layout: Layout) -> float:
    """What reading these in one request costs, worked out register by register."""
    wanted = {at for one in part for at in range(one.address, one.end)}
    asked = range(min(wanted), max(wanted) + 1)
    gap = longest = 0
    for at in asked:
        gap = 0 if at in wanted else gap + 1
        longest = max(longest, gap)
    is_refused = (
        len({one.function for one in part}) > 1
        or len(asked) > layout.register_limit
        or longest > layout.gap_limit
        or any(first <= at <= last for at in asked for first, last in layout.holes)
        or any(barrier in asked[1:] for barrier in layout.barriers)
    )
    return float("inf") if is_refused else REQUEST_COST + len(asked)


@given(maps(most=6))
def test_no_other_way_to_cut_the_map_is_cheaper(case: tuple[list[Span], Layout]) -> None:
    spans, layout = case
    best = 0.0
    for function in (3, 4):
        row = sorted((s for s in spans if s.function == function), key=lambda s: s.address)
        best += min(sum(cost_of(part, layout) for part in cut) for cut in ways_to_cut(row))
    assert plan_cost(compile_plan(spans, layout)) == best


def test_the_lead_shares_one_request_even_where_two_would_be_cheaper() -> None:
    spans = [span("power", 0), span("energy", 100), span("other", 50)]
    wide = Layout(register_limit=125, gap_limit=125)
    (stretch,) = compile_plan(spans, wide, lead=("energy", "power"))
    assert stretch.count == 102
    assert len(compile_plan(spans, wide)) == 3


def test_a_lead_that_no_request_can_hold_comes_first_and_in_its_order() -> None:
    spans = [span("other", 0), span("power", 10), span("energy", 500), span("x", 2, function=3)]
    plan = compile_plan(spans, Layout(register_limit=60, gap_limit=4), lead=("energy", "power"))
    assert [stretch.spans[0].key for stretch in plan] == ["energy", "power", "x", "other"]


def test_parts_of_one_value_are_never_read_apart() -> None:
    parts = [span("energy", 0), span("energy", 40)]
    layout = Layout(register_limit=60, gap_limit=60)
    (stretch,) = compile_plan(parts, layout)
    assert (stretch.address, stretch.count) == (0, 42)
    for worse in (Layout(register_limit=20, gap_limit=60), Layout(register_limit=60)):
        with pytest.raises(PlanError) as caught:
            compile_plan([span("power", 300), *parts], worse)
        assert caught.value.key == "energy"
    with pytest.raises(PlanError):
        compile_plan([span("energy", 0), span("energy", 2, function=3)], layout)


def test_values_whose_parts_entangle_beyond_a_request_are_named() -> None:
    entangled = [span("a", 0), span("b", 20), span("a", 40), span("b", 60)]
    with pytest.raises(PlanError) as caught:
        compile_plan(entangled, Layout(register_limit=50, gap_limit=50))
    assert caught.value.key == "a"


def test_a_lone_single_register_is_read_as_it_is_and_others_in_even_pieces() -> None:
    layout = Layout(register_limit=60, alignment=2, gap_limit=60)
    (lone,) = compile_plan([span("a", 7, 1)], layout)
    assert (lone.address, lone.count) == (7, 1)
    (both,) = compile_plan([span("a", 7, 1), span("b", 10, 1)], layout)
    assert (both.address, both.count) == (6, 6)


@pytest.mark.parametrize("hole", [(5, 6), (6, 6), (9, 9), (9, 12)])
def test_rounding_to_even_pieces_never_reaches_into_a_hole(hole: tuple[int, int]) -> None:
    spans = [span("a", 7, 1), span("b", 8, 1)]
    free = Layout(register_limit=60, alignment=2)
    assert len(compile_plan(spans, free)) == 1
    plan = compile_plan(spans, Layout(register_limit=60, alignment=2, holes=(hole,)))
    assert [(stretch.address, stretch.count) for stretch in plan] == [(7, 1), (8, 1)]


def test_the_end_of_the_address_space_is_not_overrun() -> None:
    layout = Layout(register_limit=60, alignment=4)
    with pytest.raises(PlanError):
        compile_plan([span("a", 0xFFFE, 4)], layout)
