"""The model card: the hub can read it, its numbers are the run's, and it gives nobody away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM

from flows.config import AdaptConfig
from flows.loading import load_config
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.load import load_base
from tasks.model.classifier import Summand, new_classifier
from tasks.provenance import gpus
from tasks.report import card_facts
from tasks.report.card import write_card
from tasks.report.config import Lineage
from tasks.report.facts import flattened
from tasks.report.page import write_report
from tasks.report.story import Story
from tests.config_keys import is_key
from tests.evaluate.made_up import MadeUp, make_run
from tests.model.test_classifier import SHAPES, tiny_config
from tests.report.card_story import SECRET_PATH, SETTINGS, measure, metric, origins, tell
from tests.report.made_up_rows import findings_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    made = make_run(tmp_path_factory.mktemp("run"), admissions=400, labels=60)
    measure(made)
    return made


@pytest.fixture(scope="module")
def folder(run: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("card")
    write_card(out, tell(run))
    return out


@pytest.fixture(scope="module")
def card(folder: Path) -> ModelCard:
    return ModelCard((folder / "model-card.md").read_text())


def text_of(out: Path, story: Story) -> str:
    write_card(out, story)
    return (out / "model-card.md").read_text()


def test_the_settings_that_it_asks_for_exist() -> None:
    """One that was renamed would drop its row or its sentence without a word."""
    report = Path(card_facts.__file__).parent
    asked = {key for row in card_facts.SETTINGS for key in row[1:] if key}
    for path in (*report.rglob("*.py"), *report.glob("templates/**/*")):
        if path.is_file():
            asked |= set(re.findall(r"""\bsetting\(["']([\w.]+)["']\)""", path.read_text()))
    assert len(asked) > 40
    assert [key for key in sorted(asked) if not is_key(AdaptConfig, key)] == []


def test_the_settings_of_these_tests_are_a_configurations() -> None:
    assert AdaptConfig.model_validate(SETTINGS | {"evaluate": {}}).finetune.max_tokens == 77


def test_the_hub_reads_its_metadata(card: ModelCard) -> None:
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("peft", "text-classification")
    assert data.license == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", data.license_name)
    assert data.metrics == ["roc_auc", "brier_score"]
    assert data.base_model is None, "a folder of the user's is no model of the hub"
    assert data.datasets is None


def test_its_results_are_those_of_the_metrics(run: MadeUp, card: ModelCard) -> None:
    story = tell(run)
    assert card.data.model_name == "made-up"
    results = {
        (result.dataset_config, result.metric_name): result for result in card.data.eval_results
    }
    assert len(results) == 4, "two outcomes, two adapters; a baseline is no result of this model"
    for outcome in ("diagnoses", "mortality"):
        system = story.findings.overall(outcome).code_system
        row = story.findings.get("auroc_macro", "fused", outcome, system)
        assert row
        name = f"Macro AUROC, Fused, 95% interval {row['low']:.4f} to {row['high']:.4f}"
        result = results[outcome, name]
        assert result.metric_value == round(row["value"], 4)
        assert (result.dataset_split, result.metric_type) == ("test", "roc_auc")
        assert f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})" in card.text


def test_a_base_of_the_hub_is_named_with_its_revision(run: MadeUp, tmp_path: Path) -> None:
    base = {"kind": "hub", "id": "huggyllama/llama-7b", "revision": "a" * 40}
    settings = SETTINGS | {"pretrain": {"base": base}}
    card = ModelCard(text_of(tmp_path, tell(run, settings=settings)))
    assert card.data.base_model == "huggyllama/llama-7b"
    assert "a" * 40 in card.text


def test_it_gives_nobody_away(run: MadeUp, folder: Path) -> None:
    for page in ("model-card.md", "tripod-ai.md"):
        text = (folder / page).read_text()
        assert not any(str(hadm_id) in text for hadm_id in run.test_ids)
        assert SECRET_PATH not in text
        assert "dr.secret" not in text
        assert "no discharge note: withheld" in text
        assert not re.search(r"note: [52]\b|\b7 left out|\b307\b", text)


def test_it_says_what_made_it(card: ModelCard) -> None:
    for words in (
        "4,321 notes of 321 training patients, 987,654 tokens",
        "peft 0.21.1, 0.21.2; torch 2.13.0; git commit 0123456789ab",
        "16 CPU cores and 2 x NVIDIA H200",
        "| clinical-adapter | 2026-11-21 | 82 s | 878 |",
        "| task-adapter | 2026-11-21 | 2.0 h | 878 |",
        "187 of 400 texts are longer",
        "| LoRA rank | 16 | 8 |",
        "<10 notes were dropped",
        "60 validation patients' notes: ",
        "(one seed)",
        "death in the hospital; notes that already tell of it are left out | 24 hours after",
    ):
        assert words in card.text, words


def test_what_was_not_measured_it_says(run: MadeUp, tmp_path: Path) -> None:
    story = tell(run)
    aurocs = [row for row in story.findings.rows if row["metric"].startswith("auroc")]
    text = text_of(tmp_path, replace(story, findings=findings_of(aurocs)))
    calibration = text.partition("### Calibration")[2].partition("##")[0]
    assert "Not measured" in calibration


def test_what_was_measured_it_prints(run: MadeUp, tmp_path: Path) -> None:
    system = tell(run).findings.overall("mortality").code_system
    rows = [
        metric("brier_macro", "mortality", 0.2345, code_system=system),
        metric("brier_macro_recalibrated", "mortality", 0.1234, code_system=system),
        metric("auroc_macro_gap", "mortality", 0.0567, low=0.01, high=0.1, group="sex"),
    ]
    text = text_of(tmp_path, tell(run, rows))
    assert "| In-hospital mortality | Brier score, mean over labels | 0.234 | 0.123 |" in text
    assert "sex 0.057 (0.010 to 0.100)" in text
    assert "brier_score" in ModelCard(text).data.metrics
    tripod = (tmp_path / "tripod-ai.md").read_text()
    assert "recalibrated 0.123" in tripod
    assert "Calibration was not measured" not in tripod


@pytest.mark.parametrize(
    "config",
    # neither a comparison, a search nor a scoring has a card of its own
    [
        path
        for path in sorted((ROOT / "configs").glob("*.yaml"))
        if not re.search(r"^(runs:|space:|source: .*)$", path.read_text(), re.MULTILINE)
    ],
    ids=lambda path: path.stem,
)
def test_every_shipped_configuration_has_a_card(run: MadeUp, tmp_path: Path, config: Path) -> None:
    settings = load_config(config).model_dump(mode="json", exclude={"launch"})
    card = ModelCard(text_of(tmp_path, tell(run, settings=settings)))
    paths = {str(value) for _, value in flattened(settings) if "/" in str(value)}
    assert paths, "each of them names folders of its user"
    for page in ("model-card.md", "tripod-ai.md"):
        text = (tmp_path / page).read_text()
        assert not [path for path in paths if path in text]
        assert "None" not in text.replace("| None", "").replace("None ", "")
    assert "predicted" in card.text


def test_it_lies_beside_the_report(run: MadeUp, tmp_path: Path) -> None:
    write_report(tmp_path, tell(run))
    assert {"report.html", "model-card.md", "tripod-ai.md"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_several_seeds_are_not_called_one(run: MadeUp, tmp_path: Path) -> None:
    findings = tell(run).findings
    rows = [row | {"seed": None} for row in findings.rows]
    text = text_of(tmp_path, tell(run, findings=findings_of(rows)))
    assert "one seed" not in text


def test_generated_patients_and_leaks_stand_at_the_top(run: MadeUp, tmp_path: Path) -> None:
    text = text_of(tmp_path, tell(run, synthetic=True, leaks=("known at discharge",)))
    top = text.partition("## What it is")[0]
    assert "The patients of this run were generated" in top
    assert "known at discharge" in top
    assert "data use agreement" not in top


def test_a_run_that_remembers_nothing_still_has_a_card(run: MadeUp, tmp_path: Path) -> None:
    story = tell(run, settings={}, lineage=Lineage(), contamination={}, arms=())
    text = text_of(tmp_path, story)
    assert text.count("to be written by the authors") >= 4
    assert "None" not in text


@pytest.mark.parametrize(
    ("long_notes", "said"),
    [
        ({}, ".ids[:77]])"),
        ({"kind": "head_tail", "tail_share": 0.25}, "ids[:58] + ids[-19:]"),
        ({"kind": "chunks", "tokens": None}, "chunk=positions_of(base))"),
        ({"kind": "chunks", "tokens": 16}, "chunk=16)"),
    ],
    ids=str,
)
def test_its_code_loads_the_fused_model(
    run: MadeUp,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    long_notes: dict[str, Any],
    said: str,
) -> None:
    settings = SETTINGS | {"finetune": SETTINGS["finetune"] | {"long_notes": long_notes}}
    story = tell(run, settings=settings)
    code = re.findall("```python\n(.*?)```", text_of(tmp_path, story), re.DOTALL)
    assert len(code) == 3
    assert said in code[0]
    keys = {origin.kind: origin.key for origin in origins()}
    _write_artifacts(tmp_path, {kind: tmp_path / kind / key for kind, key in keys.items()})
    exec("\n".join(code).replace('"STORE"', repr(str(tmp_path))), {})
    printed = capsys.readouterr().out
    assert "diagnoses (('icd10cm', 'I10'), ('icd9cm', '401')) tensor(" in printed
    assert "mortality" in printed


def test_the_driver_tells_the_gpus(tmp_path: Path) -> None:
    assert gpus(tmp_path) == ()
    for number in range(2):
        folder = tmp_path / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 18\n")
    assert gpus(tmp_path) == ("NVIDIA H200", "NVIDIA H200")


def _write_artifacts(folder: Path, places: dict[str, Path]) -> None:
    """The smallest base, tokenizer and adapters, where the card's code looks for them."""
    places["tokenizer"].mkdir(parents=True)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "COMPLAINT": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(places["tokenizer"] / "tokenizer.json"))
    (places["tokenizer"] / "tokenizer_config.json").write_text('{"eos_token": "[UNK]"}')
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(places["base"])
    lora = Lora(rank=2, alpha=4)
    causal = LlamaForCausalLM.from_pretrained(places["base"])
    clinical = add_new_adapter(causal, lora, "default")
    for name, parameter in clinical.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    write_adapter(places["clinical-adapter"], clinical, "default")
    summands = [Summand("clinical", places["clinical-adapter"])]
    model = new_classifier(load_base(places["base"]), lora, summands)
    model.add_heads(SHAPES)
    for name, parameter in model.named_parameters():
        if "lora_B.task" in name:
            torch.nn.init.normal_(parameter)
    model.save(places["task-adapter"])
