"""Nearly equal notes are found across splits and releases, and no others."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks import tables
from tasks.ingest import duplicate_pairs, lsh
from tasks.ingest.config import GuardConfig
from tasks.ingest.lsh import BandFiles, Banding
from tasks.ingest.minhash import shingles, sign
from tasks.ingest.near_duplicates import Counts, NotesOf, find_near_duplicates
from tasks.schemas import GUARD_DROPPED, GUARD_PAIRS, NOTES, SPLITS

WORDS = [f"word{number}" for number in range(3000)]
SPLIT_OF = {"train": 1, "validation": 2, "test": 3}  # the first digit of a patient
Note = tuple[int, str]  # subject_id, text


def text_of(draw: Random, words: int = 300) -> str:
    """A note of MIMIC-IV: placeholders, line ends, some capitals."""
    some = [draw.choice([*draw.choices(WORDS, k=8), "___", "Mr. ___,"]) for _ in range(words)]
    return "".join(f"{word.title()}{draw.choice(('  ', chr(10), ' '))}" for word in some)


def retold(draw: Random, text: str, words: int = 8) -> str:
    """As MIMIC-III has the same note: its placeholders, other line ends, one sentence changed."""
    parts = text.lower().split()
    begin = draw.randrange(len(parts) - words)
    parts[begin : begin + words] = draw.choices(WORDS, k=words)
    names = ("[**Known lastname 4**]", "[**2150-1-1**]", "[**First Name (STitle)\n 3**] [**Last**]")
    return "\n".join(part.replace("___", draw.choice(names)) for part in parts)


def release(
    folder: Path, notes: list[Note], name: str = "iv", *, splits: bool = True, kind: str = "DS"
) -> NotesOf:
    rows = [
        {"note_id": f"{name}-{row}", "subject_id": subject, "note_type": kind, "text": text}
        for row, (subject, text) in enumerate(notes)
    ]
    tables.write(
        folder / "notes" / "part-0.parquet", NOTES, pa.Table.from_pylist(rows, schema=NOTES)
    )
    if not splits:
        return NotesOf(folder, name, None)
    digits = {str(digit): split for split, digit in SPLIT_OF.items()}
    subjects = {subject for subject, _ in notes if str(subject)[0] in digits}
    named = [
        {"subject_id": subject, "split": digits[str(subject)[0]]} for subject in sorted(subjects)
    ]
    table = pa.Table.from_pylist(named, schema=SPLITS)
    tables.write(folder / "splits" / "part-0.parquet", SPLITS, table)
    return NotesOf(folder, name, folder)


def found_in(out: Path) -> tuple[set[frozenset[str]], set[str]]:
    pairs = tables.read(out / "pairs", GUARD_PAIRS).to_pylist()
    dropped = tables.read(out / "dropped", GUARD_DROPPED)["note_id"].to_pylist()
    return {frozenset((row["note_id"], row["other_note_id"])) for row in pairs}, set(dropped)


def side_of(note: Note) -> str:
    return str(note[0])[0]


def shingle_sets(texts: list[str]) -> list[set[int]]:
    hashes, bounds = shingles(pa.array(texts, pa.large_string()), GuardConfig().shingle_words)
    return [set(part.tolist()) for part in np.split(hashes, bounds[1:-1])]


def jaccard(first: set[int], second: set[int]) -> float:
    return len(first & second) / len(first | second)


def test_planted_copies_are_found_across_splits_and_releases_and_nothing_else(
    tmp_path: Path,
) -> None:
    draw = Random(1)
    originals = [text_of(draw) for _ in range(400)]
    first = [(1000 + row, text) for row, text in enumerate(originals)]
    copies = [retold(draw, text) for text in originals]
    alike = list(map(jaccard, shingle_sets(originals), shingle_sets(copies)))
    assert 0.9 <= min(alike) < max(alike) < 1  # else this test shows nothing
    tested = [(3000 + row, text) for row, text in enumerate(copies[:200])]
    elsewhere = [(3000 + row, text) for row, text in enumerate(copies[200:])]
    sources = [
        release(tmp_path / "iv", first + tested),
        release(tmp_path / "iii", elsewhere, "iii", splits=False),
    ]
    counts = find_near_duplicates(tmp_path / "out", sources, GuardConfig())
    pairs, dropped = found_in(tmp_path / "out")
    within = {frozenset((f"iv-{row}", f"iv-{400 + row}")) for row in range(200)}
    across = {frozenset((f"iv-{200 + row}", f"iii-{row}")) for row in range(200)}
    assert pairs == within | across
    assert dropped == {f"iv-{row}" for row in range(200)}
    assert counts["pairs: train-test"] == counts["pairs: across releases"] == 200
    assert counts["pairs: pretraining-train"] == 200
    assert counts["notes"] == 800
    assert not (tmp_path / "out" / "work").exists()


def test_the_other_release_leaves_pretraining_where_it_holds_a_test_note(tmp_path: Path) -> None:
    draw = Random(2)
    held, chosen, free, unique = (text_of(draw) for _ in range(4))
    sources = [
        release(tmp_path / "iv", [(30, held), (20, chosen), (10, free), (31, unique)]),
        release(
            tmp_path / "iii",
            [(7, retold(draw, held)), (8, retold(draw, chosen)), (9, retold(draw, free))],
            "iii",
            splits=False,
        ),
    ]
    counts = find_near_duplicates(tmp_path / "drop", sources, GuardConfig())
    _, dropped = found_in(tmp_path / "drop")
    assert dropped == {"iii-0", "iii-1"}
    assert counts["test_characters"] == len(held) + len(unique)
    assert counts["test_characters_seen_unguarded"] == len(held)
    assert counts["test_characters_seen"] == 0
    counts = find_near_duplicates(tmp_path / "report", sources, GuardConfig(mode="report"))
    assert found_in(tmp_path / "report")[1] == set()
    assert counts["pretraining_notes_near_held_out"] == 2
    assert counts["test_characters_seen"] == len(held)
    counts = find_near_duplicates(tmp_path / "off", sources, GuardConfig(mode="off"))
    assert found_in(tmp_path / "off") == (set(), set())
    assert counts["notes"] == 0


def test_what_is_found_is_what_comparing_all_with_all_finds(tmp_path: Path) -> None:
    """From 0.9 on every pair, below 0.66 none: there the estimate's error would be four times
    the standard one; between them it may err."""
    draw = Random(3)
    notes: list[Note] = []
    for subject in range(60):
        text = text_of(draw, words=draw.randint(100, 600))
        notes += [
            (side * 1000 + subject, retold(draw, text, words=draw.randint(1, 30)))
            for side in (1, 2, 3)
        ]
    notes += [(1, ""), (3, " \n"), (1, "two words"), (3, "TWO\nwords "), (2, "two")]
    counts = find_near_duplicates(
        tmp_path / "out", [release(tmp_path, [*notes, (4, "two")])], GuardConfig()
    )
    pairs, _ = found_in(tmp_path / "out")
    sets = shingle_sets([text for _, text in notes])
    similarity = {
        frozenset((f"iv-{first}", f"iv-{second}")): jaccard(sets[first], sets[second])
        for first, second in combinations(range(len(notes)), 2)
        if sets[first] and sets[second] and side_of(notes[first]) != side_of(notes[second])
    }
    certain = {pair for pair, value in similarity.items() if value >= 0.9}
    possible = {pair for pair, value in similarity.items() if value >= 0.66}
    assert len(certain) > 20
    assert certain <= pairs <= possible
    assert frozenset(("iv-182", "iv-183")) in certain
    assert counts["notes_not_compared"] == 3  # two without a word, one of an unknown patient


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    draw = Random(4)
    texts = [text_of(draw) for _ in range(100)]
    notes = [(1000 + row, text) for row, text in enumerate(texts)]
    notes += [(3000 + row, retold(draw, text)) for row, text in enumerate(texts)]
    source = release(tmp_path, notes)
    for name in ("first", "second"):
        find_near_duplicates(tmp_path / name, [source], GuardConfig())
    for part in ("pairs/part-0.parquet", "dropped/part-0.parquet"):
        assert (tmp_path / "first" / part).read_bytes() == (tmp_path / "second" / part).read_bytes()


def _template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counts, set[str], int]:
    draw = Random(5)
    text = text_of(draw)
    notes = [(1000 + row, retold(draw, text, words=4)) for row in range(40)]
    notes += [(3000 + row, retold(draw, text, words=4)) for row in range(30)]
    for module in (lsh, duplicate_pairs):
        monkeypatch.setattr(module, "MOST_PARTNERS", 5)
    counts = find_near_duplicates(tmp_path / "out", [release(tmp_path, notes)], GuardConfig())
    pairs, dropped = found_in(tmp_path / "out")
    listed = [note for pair in pairs for note in pair]
    return counts, dropped, max(listed.count(note) for note in listed)


def test_a_template_does_not_explode_and_still_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, dropped, most = _template(tmp_path, monkeypatch)
    assert dropped == {f"iv-{row}" for row in range(40)}
    assert most == 5
    assert counts["notes_with_more_partners"] > 0


def test_an_exact_copy_is_found_in_any_crowd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket is crowded by what is not similar enough; only exact copies pass threshold 1."""
    monkeypatch.setattr(lsh, "MOST_PARTNERS", 3)
    monkeypatch.setattr(lsh.Banding, "of", lambda *_: Banding(1, 1))
    draw = np.random.default_rng(6)
    signatures = draw.integers(0, 2**32, (600, 128), dtype=np.uint32)
    signatures[:, 0] = 1  # all share the band
    signatures[300:] = signatures[draw.permutation(300)]
    files = BandFiles(tmp_path / "work", 128, 1.0)
    files.append(signatures)
    sides = np.repeat([0, 1], 300).astype(np.uint8)
    pairs_found = [pairs for pairs in files.similar(sides) if len(pairs.left)]
    assert set(np.concatenate([pairs.left for pairs in pairs_found])) == set(range(600))


def test_the_search_holds_one_band_in_memory(tmp_path: Path) -> None:
    """21 bands at once would be 168 bytes a note more, whole signatures 384."""
    notes = 40_000
    files = BandFiles(tmp_path / "work", 128, 0.8)
    files.append(np.random.default_rng(9).integers(0, 2**32, (notes, 128), dtype=np.uint32))
    sides = np.arange(notes, dtype=np.int64).astype(np.uint8) % 3
    tracemalloc.start()
    try:
        assert not any(len(pairs.left) for pairs in files.similar(sides))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 240 * notes


def test_radiology_reports_are_counted_when_asked_for_and_never_dropped(tmp_path: Path) -> None:
    text = text_of(Random(7))
    notes = [(10, text), (30, text), (11, text)]
    source = release(tmp_path, notes, kind="RR")
    counts = find_near_duplicates(tmp_path / "quiet", [source], GuardConfig())
    assert "radiology_notes" not in counts
    counts = find_near_duplicates(tmp_path / "out", [source], GuardConfig(count_radiology=True))
    assert counts["radiology_notes"] == 3
    assert counts["radiology_notes_near_held_out"] == 2
    assert counts["notes"] == 0
    assert found_in(tmp_path / "out") == (set(), set())


def test_a_signature_does_not_hang_on_the_batch() -> None:
    """Nor on white space at its ends, which pyarrow's utf8_split_whitespace may keep."""
    draw = Random(8)
    some = ["", *(f"{text_of(draw, words)}\n" for words in (1, 4, 5, 6, 300)), "émigré of 60"]
    texts = pa.array(some, pa.large_string())
    whole, worded = sign(texts, 5, 128)
    assert worded.tolist() == [False, *[True] * 6]
    for row, text in enumerate(some):
        alone = sign(pa.array([text.strip()], pa.large_string()), 5, 128)[0]
        assert (alone == whole[row]).all()


def test_bands_miss_a_pair_at_the_threshold_at_most_once_in_a_hundred_times() -> None:
    for threshold in (0.5, 0.8, 0.9, 1.0):
        for permutations in (16, 128, 1024):
            cut = Banding.of(permutations, threshold)
            assert cut.bands * cut.rows_per_band <= permutations
            assert (1 - threshold**cut.rows_per_band) ** cut.bands <= 0.01


def test_a_bare_off_in_yaml_is_the_mode_off() -> None:
    assert GuardConfig.model_validate({"mode": False}).mode == "off"
    with pytest.raises(ValidationError):
        GuardConfig.model_validate({"mode": True})


def test_a_pair_found_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = duplicate_pairs.NoteSides(np.array([1, 3, 3], np.uint8), ("iv",))
    once, often = (duplicate_pairs.DuplicatePairs(sides, listed=True) for _ in range(2))
    pairs = lsh.Pairs(np.array([1, 2]), np.array([0, 0]), np.array([0.9, 1.0], np.float32))
    once.add(pairs)
    monkeypatch.setattr(duplicate_pairs, "_PENDING_PAIRS", 1)
    for _ in range(3):
        often.add(pairs)
    assert once.listing().left.tolist() == often.listing().left.tolist() == [0, 0]
    assert once.listing().right.tolist() == often.listing().right.tolist() == [1, 2]
