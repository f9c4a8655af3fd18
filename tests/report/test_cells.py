"""A reader who solves for the hidden counts does not find them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from tasks.report.cells import WITHHELD, Cells, Printed, side_by_side
from tasks.report.reader import Cell


def solved(
    cells: Cells, printed: Printed, cell: Cell, less: Cell | None = None
) -> tuple[float, float]:
    """The least and the most that a count can be, given all that is printed: integer programming.

    Every printed count is known, "<10" is 1 to 9, and what is withheld is at least 1, as zeros
    are printed. With `less`, the least and the most that the difference of two counts can be.
    """
    names = list(cells.counts)
    low, high = np.zeros(len(names)), np.full(len(names), 1e6)
    for index, name in enumerate(names):
        if name in cells.rests | cells.unprinted:
            continue
        text = printed.text(name)
        if text == WITHHELD:
            low[index] = 1
        elif text.startswith("<"):
            low[index], high[index] = 1, int(text[1:]) - 1
        else:
            low[index] = high[index] = int(text.replace(",", ""))
    rows = np.zeros((len(cells.sums), len(names)))
    for row, (total, *parts) in zip(rows, cells.sums, strict=True):
        row[names.index(total)] -= 1
        for part in parts:
            row[names.index(part)] += 1
    ends = []
    for sign in (1, -1):
        wanted = np.zeros(len(names))
        wanted[names.index(cell)] = sign
        if less is not None:
            wanted[names.index(less)] = -sign
        solution = milp(
            wanted,
            integrality=np.ones(len(names)),
            bounds=(low, high),
            constraints=[LinearConstraint(rows, 0, 0)] if len(rows) else [],
        )
        assert solution.success, "what is printed must agree with itself"
        ends.append(sign * solution.fun)
    return ends[0], ends[1]


def assert_none_is_known(cells: Cells, nested: list[Cell] | None = None) -> Printed:
    """Of every small count as many values stay possible as "fewer than" leaves.

    And of the difference of any two that count nearly the same patients.
    """
    printed = cells.printed()
    for first, second in combinations(nested or [], 2):
        first, second = (cells.same.get(cell, cell) for cell in (first, second))
        if 0 < abs(cells.counts[first] - cells.counts[second]) < cells.smallest:
            low, high = solved(cells, printed, first, second)
            assert high - low >= cells.smallest - 2, (first, second, low, high)
    for cell, count in cells.counts.items():
        if 0 < count < printed.smallest:
            low, high = solved(cells, printed, cell)
            assert high - low >= printed.smallest - 2, (cell, low, high)
            if cell not in cells.rests | cells.unprinted:
                assert not printed.text(cell).replace(",", "").isdigit()
    return printed


COUNT = st.one_of(st.integers(0, 12), st.integers(0, 300))


@st.composite
def forests(draw: st.DrawFn) -> tuple[Cells, list[Cell]]:
    """A total of parts that are totals themselves, counts within others, and nearly equal ones."""
    cells = Cells(draw(st.integers(2, 11)))
    groups = draw(st.lists(st.lists(COUNT, min_size=1, max_size=4), min_size=1, max_size=4))
    tops = [sum(group) for group in groups]
    cells.add("all", sum(tops))
    for index, group in enumerate(groups):
        cells.add(index, tops[index])
        for part, count in enumerate(group):
            cells.add((index, part), count)
        cells.sum(index, [(index, part) for part in range(len(group))])
    cells.sum("all", range(len(groups)))
    for index in draw(st.lists(st.sampled_from(range(len(groups))), max_size=2)):
        more = tops[index] + draw(COUNT)  # that has the same parts, and a rest
        cells.add(("more", index, more), more)
        cells.sum(("more", index, more), [(index, part) for part in range(len(groups[index]))])
    whole = cells.counts["all"]
    known = [whole - less for less in draw(st.lists(COUNT, max_size=4)) if less <= whole]
    cells.nested("all", {f"known {index}": count for index, count in enumerate(known)})
    for index, count in enumerate(known):  # each divided into classes
        share = draw(st.integers(0, count))
        if ("class", count) not in cells.counts and count != whole:
            cells.add(("class", count), share)
            cells.add(("other class", count), count - share)
            cells.sum(f"known {index}", [("class", count), ("other class", count)])
    holders = [cell for cell in cells.counts if not str(cell).startswith("('rest'")]
    for holder in draw(st.lists(st.sampled_from(holders), max_size=4)):
        part = min(draw(COUNT), cells.counts[holder])  # of it, or all but so many of it
        count = draw(st.sampled_from((part, cells.counts[holder] - part)))
        cells.add(label := ("label", len(cells.counts)), count)
        cells.sum(holder, [label])
    return cells, ["all", *(f"known {index}" for index in range(len(known)))]


@settings(max_examples=150, deadline=None)
@given(forest=forests())
def test_no_small_count_can_be_solved_for(forest: tuple[Cells, list[Cell]]) -> None:
    assert_none_is_known(*forest)


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        # total printed: the sibling goes too, or the small one would follow
        ([305, 5, 300], ["305", "<10", WITHHELD]),
        # two small ones hide each other
        ([310, 5, 300, 5], ["310", "<10", "300", "<10"]),
        # 1 and 1 do not: a sum of 2 tells both
        ([302, 1, 1, 300], ["302", "<10", "<10", WITHHELD]),
        # of three that are each below 10, a sum of 27 would tell that all are 9
        ([327, 9, 9, 9, 300], ["327", WITHHELD, WITHHELD, WITHHELD, "300"]),
        # nothing is small: all is printed
        ([320, 10, 10, 300], ["320", "10", "10", "300"]),
        # a zero is no patient
        ([300, 0, 300], ["300", "0", "300"]),
        # all of a small total: neither it nor its parts are told apart
        ([9, *[1] * 9], [WITHHELD] * 10),
    ],
)
def test_a_total_and_its_parts(parts: list[int], texts: list[str]) -> None:
    cells = Cells(10)
    for index, count in enumerate(parts):
        cells.add(index, count)
    cells.sum(0, range(1, len(parts)))
    printed = assert_none_is_known(cells)
    assert [printed.text(index) for index in range(len(parts))] == texts


def test_two_totals_of_the_same_parts_do_not_tell_their_small_difference() -> None:
    """12 admissions, and 10 cases of two classes of which an admission has one: 2 have none."""
    cells = Cells(10)
    for name, count in {"admissions": 12, "C0": 9, "C1": 1, "cases": 10}.items():
        cells.add(name, count)
    cells.sum("cases", ["C0", "C1"])
    cells.sum("admissions", ["C0", "C1"])
    printed = assert_none_is_known(cells)
    assert [printed.text(name) for name in ("admissions", "cases")] == ["12", WITHHELD]


def test_what_only_several_sums_together_tell_is_not_told() -> None:
    """Of 9 admissions 9 have one label and 7 another: as 16 cases, no label of more, they tell 8.

    The range of each is wide enough by the sum of the cases alone, and by the admissions alone.
    """
    cells = Cells(10)
    for name, count in {"train": 9, "C0": 9, "C1": 7, "cases": 16}.items():
        cells.add(name, count)
    cells.sum("train", ["C0"])
    cells.sum("train", ["C1"])
    cells.sum("cases", ["C0", "C1"])
    assert assert_none_is_known(cells).text("cases") == WITHHELD


def test_labels_far_below_their_admissions_tell_of_them_together() -> None:
    """12 of 53 coded as ICD-10, in 54: each label is 3 or more below, five of 32 tell 7 or more.

    Then 54 less 41 less 7 would be left for those without a code, 1 really. Of the five, one is
    10 below the 12, so far that it alone tells nothing.
    """
    cells = Cells(10)
    cells.add("test", 54)
    cells.nested("test", {"coded": 53})
    cells.add("icd9", 41)
    cells.add("icd10", 12)
    cells.sum("coded", ["icd9", "icd10"])
    labels = {"C0": 9, "C1": 5, "C2": 2, "C3": 7, "C4": 9}
    for name, count in labels.items():
        cells.add(name, count)
        cells.sum("icd10", [name])
    cells.add("cases", 32)
    cells.sum("cases", labels)
    printed = assert_none_is_known(cells, ["test", "coded"])
    assert printed.text("test") == "54"


def test_two_counts_of_nearly_the_same_patients_are_not_both_printed() -> None:
    cells = Cells(10)
    cells.add("test", 210)
    known = {"died": 210, "coded": 203, "stayed": 202, "ventilated": 190, "short": 130, "long": 72}
    outcomes = {name: known[name] for name in ("died", "coded", "stayed", "ventilated")}
    cells.nested("test", outcomes)
    for name in ("short", "long"):
        cells.add(name, known[name])
    cells.sum("stayed", ["short", "long"])
    printed = assert_none_is_known(cells, ["test", *outcomes])
    assert {name: printed.text(name) for name in known} == {
        "died": "210",
        "coded": WITHHELD,
        "stayed": WITHHELD,
        "ventilated": "190",
        "short": "130",
        "long": WITHHELD,  # or those who stayed would be 202, and 8 would have died
    }


def test_thousands_of_labels_do_not_take_long() -> None:
    random = np.random.default_rng(0)
    counts = random.geometric(0.02, 3000)
    cells = Cells(10)
    cells.add("all", int(counts.sum()))
    cells.add("admissions", 2000)
    for index, count in enumerate(counts):
        cells.add(index, int(count))
        cells.sum("admissions", [index])
    cells.sum("all", range(len(counts)))
    printed = cells.printed()
    assert printed.exact("all")
    assert {index for index in range(3000) if not printed.exact(index)} == {
        index for index in range(3000) if 0 < counts[index] < 10
    }


@settings(max_examples=150, deadline=None)
@given(
    partitions=st.dictionaries(
        st.sampled_from(["died", "stayed", "coded", "ventilated"]),
        st.dictionaries(st.sampled_from(["A", "B", "C", "other"]), st.integers(0, 40)),
        min_size=1,
    ),
    smallest=st.integers(2, 11),
)
def test_no_difference_of_two_partitions_is_small(
    partitions: dict[str, dict[str, int]], smallest: int
) -> None:
    kept = side_by_side(partitions, smallest)
    for first in kept:
        assert not any(0 < count < smallest for count in partitions[first].values())
        for other in kept:
            for name in (partitions[first].keys() & partitions[other].keys()) - {"other"}:
                apart = abs(partitions[first][name] - partitions[other][name])
                assert apart == 0 or apart >= smallest


def test_groups_that_one_outcome_joins_are_compared_joined() -> None:
    partitions = {
        "died": {"WHITE": 100, "ASIAN": 21, "RARE": 11},
        "stayed": {"WHITE": 100, "other": 29},  # 3 fewer of ASIAN and RARE together
        "coded": {"WHITE": 100, "other": 20},
    }
    assert side_by_side(partitions, 10) == ["died", "coded"]
