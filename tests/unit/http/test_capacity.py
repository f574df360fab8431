"""Which connections are closed to free capacity, and for which others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.http.capacity import Cap, Share


@dataclass(eq=False)
class Holder:
    """A connection."""

    name: str
    answering: bool = False
    aborted: bool = False

    def abort(self) -> None:
        """Remember that it was closed."""
        self.aborted = True


def enter(cap: Cap, address: str, name: str = "", size: int = 1, *, answering: bool = False) -> tuple[Share, Holder]:
    """Take a share."""
    holder = Holder(name, answering)
    share = cap.share(address, holder)
    assert share.grow(size)
    return share, holder


def test_oldest_of_the_same_address_makes_room() -> None:
    cap = Cap(100, 3)
    holders = [enter(cap, "192.0.2.1")[1] for _ in range(5)]
    other = enter(cap, "192.0.2.2")[1]
    assert [holder.aborted for holder in holders] == [True, True, False, False, False]
    assert not other.aborted
    assert cap.total == 4


def test_busiest_address_makes_room_for_others() -> None:
    """A flood of one address, or of many, costs an address with one connection nothing."""
    cap = Cap(10)
    good = enter(cap, "192.0.2.1")[1]
    flood = [enter(cap, "192.0.2.66")[1] for _ in range(50)]
    flood += [enter(cap, f"192.0.2.{number}")[1] for number in (70, 71, 72) for _ in range(3)]
    late = enter(cap, "192.0.2.2")[1]
    assert not good.aborted
    assert not late.aborted
    assert cap.total == 10
    assert sum(not holder.aborted for holder in flood) == 8


def test_one_ipv6_network_is_one_address() -> None:
    cap = Cap(100, 2)
    holders = [enter(cap, f"2001:db8::{number:x}")[1] for number in range(3)]
    assert [holder.aborted for holder in holders] == [True, False, False]


def test_who_waits_for_an_answer_makes_room_last() -> None:
    cap = Cap(100, 2, breaks_off=True)
    answered = enter(cap, "192.0.2.1", answering=True)[1]
    idle = enter(cap, "192.0.2.1")[1]
    second = enter(cap, "192.0.2.1", answering=True)[1]
    assert (answered.aborted, idle.aborted) == (False, True)
    enter(cap, "192.0.2.1")
    assert (answered.aborted, second.aborted) == (True, False)


def test_body_that_is_being_answered_is_not_broken_off() -> None:
    """A body whose request is being processed stays; a newcomer beyond the cap is refused, but keeps its share."""
    cap = Cap(0, 100)
    enter(cap, "192.0.2.1", size=60, answering=True)
    share = cap.share("192.0.2.1", Holder("late"))
    assert share.grow(40)
    assert not share.grow(1)
    assert (share.size, cap.total) == (40, 100)
    assert not Cap(10).share("192.0.2.1", Holder("large")).grow(11)


def test_authenticated_holds_nothing() -> None:
    cap = Cap(2, 2, breaks_off=True)
    share, holder = enter(cap, "192.0.2.1")
    share.close()
    for _ in range(10):
        enter(cap, "192.0.2.1")
    assert not holder.aborted
    assert share.grow(1_000_000)
    share.close()
    assert cap.total == 2


def test_without_caps() -> None:
    cap = Cap()
    assert not any(enter(cap, "192.0.2.1", size=1 << 30)[1].aborted for _ in range(100))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=60), st.integers(1, 100))
def test_caps_hold_and_everything_is_given_back(steps: list[tuple[int, int, bool]], in_all: int) -> None:
    cap = Cap(in_all, 40)
    shares: list[Share] = []
    for address, size, close in steps:
        share = cap.share(f"192.0.2.{address}", Holder("one"))
        share.grow(size)
        shares.append(share)
        if close:
            shares.pop(0).close()
        assert cap.total == sum(one.size for one in shares if not one.closed) <= in_all
    for share in shares:
        share.close()
    assert cap.total == 0


@pytest.mark.parametrize("count", [0, 3])
def test_closing_an_empty_share(count: int) -> None:
    cap = Cap(10, 10)
    share = cap.share("192.0.2.1", Holder("one"))
    for _ in range(count):
        share.close()
    assert cap.total == 0


@pytest.mark.parametrize(("in_all", "per_address"), [(100, 0), (0, 100)])
@pytest.mark.parametrize("breaks_off", [False, True])
def test_who_holds_nothing_is_not_closed(in_all: int, per_address: int, breaks_off: bool) -> None:
    """A request without room may have valid credentials, which are verified before it is refused."""
    cap = Cap(in_all, per_address, breaks_off=breaks_off)
    refused = [Holder(str(number)) for number in range(3)]
    shares = [cap.share("192.0.2.1", holder) for holder in refused]
    assert not any(share.grow(101) for share in shares)
    enter(cap, "192.0.2.1", size=90)
    enter(cap, "192.0.2.1", size=20)
    assert not any(holder.aborted for holder in refused)
    for share in shares:
        share.close()
    assert cap.total == 20


@pytest.mark.parametrize(("in_all", "per_address"), [(100, 0), (0, 100), (100, 100), (150, 100), (100, 150)])
@pytest.mark.parametrize(
    ("sizes", "size", "closed"),
    [
        # None of them makes enough room, though all together would.
        ((40, 30, 30), 50, None),
        # The oldest one that makes enough room, not the older one that does not.
        ((10, 60, 30), 50, 1),
        ((60, 30, 10), 5, 0),
        ((30, 30, 40), 101, None),
        # A part of the size is still free.
        ((20, 50), 80, 1),
        ((20, 50), 30, "none"),
    ],
)
def test_at_most_one_makes_room(
    in_all: int, per_address: int, sizes: tuple[int, ...], size: int, closed: int | str | None
) -> None:
    """A body closes one connection that makes enough room for it, or is refused and closes none."""
    cap = Cap(in_all, per_address)
    holders = [enter(cap, "192.0.2.1", size=one)[1] for one in sizes]
    share = cap.share("192.0.2.1", Holder("late"))
    assert share.grow(size) is (closed is not None)
    aborted = [number for number, holder in enumerate(holders) if holder.aborted]
    assert aborted == ([closed] if isinstance(closed, int) else [])
    held = sum(one for one, holder in zip(sizes, holders, strict=True) if not holder.aborted)
    assert cap.total == held + share.size


@pytest.mark.parametrize(
    ("address", "size", "closed"),
    [
        # One that is large enough, rather than several.
        ("192.0.2.1", 25, [2]),
        # The oldest of the same address.
        ("192.0.2.1", 40, [0, 1, 2]),
        ("192.0.2.1", 60, [0, 1, 2]),
        # Another address may have its share, at the expense of the busiest.
        ("192.0.2.3", 30, [2]),
        ("192.0.2.3", 60, [0, 1, 2]),
        # No cap would ever have room for it.
        ("192.0.2.3", 61, None),
    ],
)
def test_several_answers_make_room(address: str, size: int, closed: list[int] | None) -> None:
    """Where no single one is large enough, long answers that are being sent are broken off, oldest first."""
    cap = Cap(100, 60, breaks_off=True)
    held = [("192.0.2.1", 10), ("192.0.2.1", 20), ("192.0.2.1", 30), ("192.0.2.2", 40)]
    holders = [enter(cap, one, size=size, answering=True)[1] for one, size in held]
    share = cap.share(address, Holder("late", answering=True))
    assert share.grow(size) is (closed is not None)
    assert [number for number, holder in enumerate(holders) if holder.aborted] == (closed or [])
    assert cap.total <= 100
    assert share.size == (0 if closed is None else size)


def test_several_addresses_make_room() -> None:
    """Addresses that hold a little each don't keep another from a long answer."""
    cap = Cap(100, 60, breaks_off=True)
    holders = [enter(cap, f"192.0.2.{number}", size=10, answering=True)[1] for number in range(10)]
    late = enter(cap, "192.0.2.66", size=cap.fitting(1000))[0]
    assert late.size == 60
    assert sum(holder.aborted for holder in holders) == 6
    assert cap.total == 100


def test_both_caps_are_kept_by_one() -> None:
    """One connection of the address makes room under its cap and under that of all addresses."""
    cap = Cap(100, 60)
    other = enter(cap, "192.0.2.2", size=50)[1]
    small, large = (enter(cap, "192.0.2.1", size=one)[1] for one in (10, 40))
    share = cap.share("192.0.2.1", Holder("late"))
    assert share.grow(30)
    assert (other.aborted, small.aborted, large.aborted) == (False, False, True)
    assert cap.total == 90
