"""What is a type of what: codes of their categories, categories of blocks, blocks of chapters."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from tasks.pretrain.planting import Category, cleaned, read_categories

_HELD_OUT_SHARE, _MOST_HELD_OUT = 0.05, 512  # of the relations of a code system
_ALONE = ("C7A", "C7B", "D3A")  # blocks of ICD-10-CM that stand beside those that seem to hold them


@dataclass(frozen=True, order=True)
class Relation:
    """The narrower is a type of the broader; both are titles."""

    narrower: str
    broader: str


@dataclass(frozen=True)
class Relations:
    """Those of a code system that are learned, and those that only measure what was learned."""

    learned: tuple[Relation, ...]
    held_out: tuple[Relation, ...]


@dataclass(frozen=True)
class Block:
    """A block or a chapter of a code system."""

    first: str  # category
    last: str  # category
    title: str

    def holds(self, category: str) -> bool:
        """Whether a category is one of the block's.

        >>> Block("I20", "I25", "Ischemic heart diseases").holds("I21")
        True
        >>> Block("V01", "V09", "Persons with potential health hazards").holds("V090")
        True
        """
        return self.first <= category[: len(self.first)] and category[: len(self.last)] <= self.last


def read_relations(
    folder: Path, codes_per_category: int, seed: int, *, shuffled: bool = False
) -> list[Relations]:
    """The relations of each code system of an `ontology` artifact.

    Args:
        codes_per_category: of which relations are made, at most.
        seed: of what is held out.
        shuffled: each category gets the title of another one.
    """
    systems = read_categories(folder, codes_per_category)
    return [
        _parted(_relations(system, categories if not shuffled else _mixed(categories, seed)), seed)
        for system, categories in systems.items()
    ]


def blocks_above(system: str, category: str) -> list[str]:
    """The titles of the blocks and the chapter that a category is in, the narrowest first.

    >>> blocks_above("icd10cm", "I21")
    ['Ischemic heart diseases', 'Diseases of the circulatory system']
    """
    holding = [block for block in _blocks().get(system, ()) if block.holds(category)]
    # of two nested blocks, the narrower begins later or, beginning with the other, ends sooner
    holding.sort(key=lambda block: block.last)
    holding.sort(key=lambda block: block.first, reverse=True)
    if system == "icd10cm" and category in _ALONE:
        holding = [holding[0], holding[-1]]
    return [block.title for block in holding]


def _relations(system: str, categories: Sequence[Category]) -> list[Relation]:
    relations: dict[Relation, None] = {}
    for category in categories:
        above = [category.title, *blocks_above(system, category.code)]
        pairs = [(code, category.title) for code in category.codes]
        pairs += pairwise(above)
        for narrower, broader in pairs:
            relation = Relation(cleaned(narrower), cleaned(broader))
            if relation.narrower.casefold() != relation.broader.casefold():
                relations[relation] = None
    return list(relations)


def _parted(relations: Sequence[Relation], seed: int) -> Relations:
    order = np.random.default_rng(seed).permutation(len(relations)).tolist()
    held_out = min(round(_HELD_OUT_SHARE * len(order)), _MOST_HELD_OUT)
    mixed = tuple(relations[index] for index in order)
    return Relations(learned=mixed[held_out:], held_out=mixed[:held_out])


def _mixed(categories: Sequence[Category], seed: int) -> list[Category]:
    order = np.random.default_rng(seed).permutation(len(categories))
    pairs = zip(categories, order, strict=True)
    return [replace(category, title=categories[index].title) for category, index in pairs]


@cache
def _blocks() -> dict[str, list[Block]]:
    """Blocks and chapters by system; `infra/icd_categories.py` wrote them, and names its sources.

    Those that change are a new version of the step that trains on them.
    """
    systems: dict[str, list[Block]] = {}
    path = Path(__file__).with_name("icd_blocks.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            block = Block(row["first"], row["last"], row["title"])
            systems.setdefault(row["system"], []).append(block)
    return systems
