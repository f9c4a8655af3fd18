"""A general corpus: from a text file or a saved dataset, the same documents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from tasks.errors import ConfigError
from tasks.pretrain.texts import documents

TEXTS = ["One line.", "Two\nlines.", "Ünïcode: 37 °C."]


def test_a_text_and_a_saved_dataset_give_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "general.txt").write_text("\n\n".join(TEXTS) + "\n\n\n", encoding="utf-8")
    Dataset.from_dict({"text": [*TEXTS, "", None], "id": range(5)}).save_to_disk(tmp_path / "saved")
    assert list(documents(tmp_path / "general.txt")) == TEXTS
    assert list(documents(tmp_path / "saved")) == TEXTS


def test_documents_are_parted_by_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\none\ntwo\n\n\nthree\n \nfour")
    assert list(documents(path)) == ["one\ntwo", "three", "four"]


def test_reading_a_dataset_copies_nothing_and_does_not_import_torch(tmp_path: Path) -> None:
    Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    program = (
        "import sys; from pathlib import Path; from tasks.pretrain.texts import documents;"
        f"print(len(list(documents(Path({str(tmp_path / 'saved')!r})))), 'torch' in sys.modules)"
    )
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True,
        text=True, check=True, env={"HOME": str(home), "HF_HOME": str(home / "hf")},
    )  # fmt: skip
    assert done.stdout.split() == [str(len(TEXTS)), "False"]
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.txt cannot be read"):
        list(documents(tmp_path / "gone.txt"))
    (tmp_path / "latin.txt").write_bytes("37 °C".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        list(documents(tmp_path / "latin.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="save_to_disk"):
        list(documents(tmp_path / "empty"))
    one = Dataset.from_dict({"words": TEXTS})
    one.save_to_disk(tmp_path / "words")
    with pytest.raises(ConfigError, match="no column 'text'"):
        list(documents(tmp_path / "words"))
    DatasetDict({"train": one, "test": one}).save_to_disk(tmp_path / "both")
    with pytest.raises(ConfigError, match=r"several splits \(train, test\)"):
        list(documents(tmp_path / "both"))
