"""The texts and queries of the ontology objective: titles of codes planted into spans of notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ConfigError
from tasks.pretrain.config import OntologyConfig
from tasks.pretrain.corpus import Corpus
from tasks.pretrain.packing import pieces

Ids = list[int]
_LARGE = 6  # categories of a chapter from which near ones are taken
_FRAGMENT = (2, 6)  # pieces of a text that are a query: at least, and one more than at most
_BRACKETS = re.compile(r"\[[^]]*\]|\([^)]*\)")
_SAYS_NOTHING = re.compile(
    r"\b(other|unspecified|not elsewhere classified|not otherwise specified)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Category:
    """A category of codes."""

    code: str
    chapter: str
    title: str
    codes: tuple[str, ...]  # their titles


@dataclass(frozen=True)
class Draw:
    """What a step learns from."""

    texts: list[Ids]  # without special tokens
    queries: list[Ids]  # without special tokens
    matches: NDArray[np.bool_]  # [texts, queries]

    @property
    def tokens(self) -> int:
        return sum(map(len, (*self.texts, *self.queries)))


def read_categories(folder: Path, codes_per_category: int) -> dict[str, list[Category]]:
    """The categories of an `ontology` artifact by code system, each with so many codes at most."""
    read = tables.read(folder / "ontology", schemas.ONTOLOGY)
    under: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in read.to_pylist():
        under.setdefault((row["system"], row["category"]), []).append(row)
    systems: dict[str, list[Category]] = {}
    for (system, code), rows in under.items():
        number = min(codes_per_category, len(rows))
        codes = tuple(rows[index * len(rows) // number]["title"] for index in range(number))
        category = Category(code, rows[0]["chapter"], rows[0]["category_title"], codes)
        systems.setdefault(system, []).append(category)
    return systems


def cleaned(title: str) -> str:
    """A title without what only sets it apart from those beside it in the classification.

    >>> cleaned("Other specified diabetes mellitus (with coma), unspecified")
    'specified diabetes mellitus'
    """
    bare = " ".join(_SAYS_NOTHING.sub(" ", _BRACKETS.sub(" ", title)).split())
    return re.sub(r"\s*(,\s*)+", ", ", bare).strip(" ,;") or title


class Planting:
    """Draws texts and queries, a step's from the step's number and the seed alone."""

    def __init__(
        self,
        corpus: Corpus,
        systems: dict[str, list[Category]],
        tokenizer: LoadedTokenizer,
        config: OntologyConfig,
        longest: int | None = None,
    ) -> None:
        """Of a corpus and an ontology.

        Args:
            longest: tokens that the base reads at once.
        """
        self.corpus, self.config, self.tokenizer, self.longest = corpus, config, tokenizer, longest
        self._special = tokenizer.special
        self._continuing = tokenizer.continuing()
        self._systems = list(systems.values())
        self._queries = [self._titles(categories) for categories in self._systems]

    def draw(self, step: int) -> Draw:
        """The texts and queries of a step; each is of one code system, in turn."""
        generator = np.random.default_rng([self.config.training.seed, step])
        number = step % len(self._systems)
        categories = self._systems[number]
        chosen = self._choose(categories, generator)
        texts: list[Ids] = []
        queries: list[Ids] = []
        matches: list[Sequence[int]] = []
        for index in range(self.config.training.batch_size):
            begin = index * self.config.planted
            planted = [(begin + more) % len(chosen) for more in range(self.config.planted)]
            titles = [
                self._encode(str(generator.choice(categories[chosen[query]].codes)))
                for query in planted
            ]
            row = step * self.config.training.batch_size + index
            text = self._span(row, generator)
            if self.config.titles == "span":
                fragments = self._fragments(text, generator)
                matches.append(range(len(queries), len(queries) + len(fragments)))
                queries += fragments
            else:
                text = self._planted(text, titles, generator)
                matches.append(planted)
            texts.append(text)
        if self.config.titles != "span":
            queries = [self._encode(self._queries[number][category]) for category in chosen]
        drawn = Draw(texts, queries, np.zeros((len(texts), len(queries)), np.bool_))
        for row, indices in enumerate(matches):
            drawn.matches[row, list(indices)] = True
        self._check_length(drawn)
        return drawn

    def _titles(self, categories: Sequence[Category]) -> list[str]:
        """The titles by which categories are sought: their own, or those of others."""
        titles = [category.title for category in categories]
        if self.config.titles == "shuffled":
            order = np.random.default_rng(self.config.training.seed).permutation(len(titles))
            return [titles[index] for index in order]
        return titles

    def _choose(
        self, categories: Sequence[Category], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Indices of a step's categories, some of few chapters, in random order."""
        of_chapters: dict[str, list[int]] = {}
        for index, category in enumerate(categories):
            of_chapters.setdefault(category.chapter, []).append(index)
        total = min(self.config.categories, len(categories))
        large = [name for name, of in sorted(of_chapters.items()) if len(of) >= _LARGE]
        chapters = generator.permutation(large or sorted(of_chapters))[: self.config.chapters]
        near = generator.permutation([i for chapter in chapters for i in of_chapters[chapter]])
        near = near[: round(self.config.near * total)]
        others = np.setdiff1d(generator.permutation(len(categories)), near)
        others = generator.permutation(others)[: total - len(near)]
        return generator.permutation(np.concatenate([near, others]))

    def _span(self, row: int, generator: np.random.Generator) -> Ids:
        """Pieces of a document, or all of one that is short, from a word's beginning."""
        documents = [
            kept
            for _, ids in pieces(self.corpus[row % len(self.corpus)])
            if (kept := [int(each) for each in ids if int(each) not in self._special])
        ]
        if not documents:
            return []
        sizes = np.array([len(document) for document in documents])
        document = documents[int(generator.choice(len(documents), p=sizes / sizes.sum()))]
        start = int(generator.integers(max(1, len(document) - self.config.span + 1)))
        while start and self._continuing[document[start]]:
            start -= 1
        return document[start : start + self.config.span]

    def _planted(self, span: Ids, titles: list[Ids], generator: np.random.Generator) -> Ids:
        """The span with the titles between its words, in random places."""
        between = [
            place
            for place in range(len(span) + 1)
            if place in (0, len(span)) or not self._continuing[span[place]]
        ]
        places = sorted(generator.choice(between, len(titles)).tolist())
        text: Ids = []
        taken = 0
        for place, title in zip(places, titles, strict=True):
            text += [*span[taken:place], *title]
            taken = place
        return text + span[taken:]

    def _fragments(self, text: Ids, generator: np.random.Generator) -> list[Ids]:
        """Some parts of the text, each from a word's beginning: queries without an ontology."""
        begins = [place for place, piece in enumerate(text) if not self._continuing[piece]]
        if not begins:
            return []
        starts = generator.choice(begins, self.config.planted).tolist()
        lengths = generator.integers(*_FRAGMENT, len(starts)).tolist()
        return [text[start : start + length] for start, length in zip(starts, lengths, strict=True)]

    def _encode(self, title: str) -> Ids:
        encoding = self.tokenizer.tokenizer.encode(cleaned(title), add_special_tokens=False)
        ids: Ids = encoding.ids[: self.config.title_pieces]
        return ids

    def _check_length(self, drawn: Draw) -> None:
        before, after = self.tokenizer.frame
        length = max(map(len, drawn.texts)) + len(before) + len(after)
        if self.longest is not None and length > self.longest:
            raise ConfigError(
                f"a text of the ontology adapter has {length} tokens, but the base reads at most "
                f"{self.longest}; lower pretrain.ontology.span or pretrain.ontology.planted"
            )
