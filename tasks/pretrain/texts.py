"""The documents of a general corpus: a plain text file, or a folder of the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import ConfigError

COLUMN = "text"


def documents(corpus: Path) -> Iterator[str]:
    """The documents of a corpus, one after another.

    Args:
        corpus: a UTF-8 text whose documents are parted by blank lines, or a folder as
            `datasets.Dataset.save_to_disk` writes it, with a column "text".

    Raises ConfigError where it is neither.
    """
    return _of_dataset(corpus) if corpus.is_dir() else _of_text(corpus)


def _of_dataset(folder: Path) -> Iterator[str]:
    """The rows of a saved dataset: memory-mapped where they lie, so that no cache takes a copy."""
    from datasets import Dataset, disable_progress_bars, load_from_disk

    disable_progress_bars()
    try:
        dataset = load_from_disk(str(folder))
    except (OSError, ValueError):
        raise ConfigError(
            f"{folder} is no folder that datasets' save_to_disk wrote; correct pretrain.base.corpus"
        ) from None
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"{folder} holds several splits ({', '.join(dataset)}); name the folder of one of them"
        )
    if COLUMN not in dataset.column_names:
        raise ConfigError(f"{folder} has no column '{COLUMN}'; rename the column of the documents")
    for batch in dataset.with_format("arrow").iter(batch_size=1024):
        yield from (text for text in batch[COLUMN].to_pylist() if text and text.strip())


def _of_text(path: Path) -> Iterator[str]:
    """What lies between the blank lines of a text file."""
    try:
        with path.open(encoding="utf-8") as file:
            lines: list[str] = []
            for line in file:
                if line.strip():
                    lines.append(line)
                elif lines:
                    yield "".join(lines).strip()
                    lines = []
            if lines:
                yield "".join(lines).strip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); correct pretrain.base.corpus"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; convert it") from None
