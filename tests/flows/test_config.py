"""A configuration is checked before anything runs, and answers in one line."""

from __future__ import annotations

import importlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.chain import settings_of
from flows.check import _check_lengths
from flows.config import AdaptConfig
from flows.loading import (
    MOVED,
    flow_of,
    load_compare,
    load_config,
    load_score,
    load_search,
    load_trial,
    merge,
)
from flows.space import check_search
from tasks.errors import ConfigError
from tasks.ingest.config import FullView
from tasks.ingest.outcomes.config import DiagnosesConfig
from tasks.model.bases.config import PathBase
from tests.config_keys import is_key
from tests.flows.test_deployment import NAMES

ROOT = Path(__file__).parents[2]
COMPARISONS = sorted(
    path for path in (ROOT / "configs").glob("*.yaml") if "\nruns:\n" in path.read_text()
)
SEARCHES = sorted((ROOT / "configs").glob("search-*.yaml"))
SCORINGS = sorted((ROOT / "configs").glob("score-*.yaml"))
CONFIGS = sorted({*(ROOT / "configs").glob("*.yaml")} - {*COMPARISONS, *SEARCHES, *SCORINGS})
DEMO = ROOT / "configs" / "demo.yaml"


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_opens_with_its_command(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert f"clinfuse run configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_shipped_comparison_loads_and_opens_with_its_command(path: Path) -> None:
    config = load_compare(path)
    assert config.name == path.stem
    assert len(config.seeds) > 2
    assert f"clinfuse compare configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", SCORINGS, ids=lambda path: path.stem)
def test_every_shipped_scoring_loads_and_opens_with_its_command(path: Path) -> None:
    assert flow_of(path) == "score"
    assert load_score(path).name == path.stem
    assert f"clinfuse score configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_every_shipped_search_loads_with_each_of_its_values(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.space.check", lambda *_, **__: None)  # of files that are not here
    config = check_search(path)
    assert config.name == path.stem
    assert f"clinfuse search configs/{path.name}" in path.read_text()
    if config.stage == "pretrain":  # a clinical adapter that is no update can be no summand
        assert config.pretrain.adapter.kind == "lora" or not config.finetune.members[0].summands


def test_weights_of_summands_are_searched_together_and_may_be_negative() -> None:
    path = ROOT / "configs" / "search-lorahub.yaml"
    keys = [f"finetune.members.0.summands.{index}.weight" for index in range(2)]
    run = load_trial(path, [f"{keys[0]}=-1.5", f"{keys[1]}=0.25"])
    weights = [summand.weights(frozen_trunk=True) for summand in run.finetune.members[0].summands]
    assert weights == [(-1.5,), (0.25,)]
    assert load_search(path).space.keys() == set(keys)


def test_an_override_holds_for_every_run_of_a_comparison() -> None:
    path = ROOT / "configs" / "compare-low-label.yaml"
    found = load_compare(path, ["finetune.epochs=1", "seeds=[5]", "name=mine"])
    assert (found.name, found.seeds) == ("mine", (5,))
    assert [run.finetune.epochs for run in found.runs] == [1, 1, 1]
    assert [run.name for run in found.runs] == ["all-linear", "q-v", "with-embedding"]
    assert found.runs[1].finetune.adapter.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("finetune.epocs=3", r"no key 'runs\.0\.finetune\.epocs'; did you mean 'epochs'"),
        ("seeds=[1, 1]", r"a seed is given twice"),
        ("seeds=[]", r"'seeds'.*at least 1 item"),
        ("reference=other/fused", r"'other/fused' is of no run here; runs: all-linear, q-v"),
        ("runs=[{preset: configs/demo.yaml}, {preset: configs/demo.yaml}]", r"named 'demo'"),
        (
            "published={source: S., rows: [{name: LoRA, auroc: {los: .5}, beside: other/fused}]}",
            r"'LoRA' is published beside 'other/fused', which is of no run here",
        ),
        (
            "published={source: S., rows: [{name: LoRA, auroc: {los: 65.7}}]}",
            r"the AUROC of los is 65.7; write it between 0 and 1",
        ),
    ],
)
def test_a_wrong_comparison_is_one_line(override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_compare(ROOT / "configs" / "compare-low-label.yaml", [override])
    assert "\n" not in str(caught.value)


def test_every_key_of_the_7b_preset_is_kept_as_written() -> None:
    path = ROOT / "configs" / "mimic-iv-llama-7b.yaml"
    given = yaml.safe_load(path.read_text())
    loaded = load_config(path).model_dump(mode="json")
    assert [member["name"] for member in loaded["finetune"]["members"]] == ["fused", "unfused"]
    given["finetune"].pop("members")  # by name
    assert merge(loaded, given) == loaded | {"ingest": merge(loaded["ingest"], given["ingest"])}
    assert loaded["pretrain"]["adapter"]["targets"] == ["q_proj", "v_proj"]


@pytest.mark.parametrize("path", [*CONFIGS, *COMPARISONS], ids=lambda path: path.stem)
def test_presets_keep_the_scale_that_their_figures_were_measured_with(path: Path) -> None:
    runs = load_compare(path).runs if path in COMPARISONS else (load_config(path),)
    for config in runs:
        members = config.finetune.members
        if any(s.adapter == "clinical" for member in members for s in member.summands):
            assert config.pretrain.adapter.kind == "lora"
            assert not config.pretrain.adapter.rslora
    if "llama-7b" in path.stem:  # the paper's
        (config,) = runs
        assert config.pretrain.adapter.alpha / config.pretrain.adapter.rank == 2
        assert config.pretrain.training.learning_rate == 3e-4


def test_another_kind_of_base_takes_the_place_of_the_presets() -> None:
    loaded = load_config(DEMO, ["pretrain.base={kind: path, path: models/llama}"])
    assert loaded.pretrain.base == PathBase(path=Path("models/llama"))
    one_by_one = ["pretrain.base.kind=path", "pretrain.base.path=models/llama"]
    assert load_config(DEMO, one_by_one) == loaded


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("finetune.epocs=3", r"no key 'finetune\.epocs'; did you mean 'epochs'"),
        ("finetune.epochs=many", r"'finetune\.epochs'.*valid integer.*'many'"),
        ("ingest.split.validation=2", r"'ingest\.split\.validation'.*less than 1, not 2"),
        ("pretrain.base.kind=magic", r"pretrain\.base.*'scratch', 'gguf', 'path', 'hub'"),
        ("name=My Run", r"'name'.*'My Run'"),
        (
            "finetune={cases_per_label: 4, max_labelled_admissions: 9}",
            r"both say from how few admissions",
        ),
        ("novalue", r"write it as key=value"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_key(override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(DEMO, [override])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml cannot be read"):
        load_config(tmp_path / "gone.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [demo\nfinetune: {")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not YAML at line"):
        load_config(broken)
    broken.write_text("just words")
    with pytest.raises(ConfigError, match="holds no keys"):
        load_config(broken)


def test_a_preset_gives_what_is_not_given(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"preset: {DEMO}\nfinetune: {{epochs: 1}}")
    config = load_config(mine)
    assert config.finetune.epochs == 1
    assert config.name == "demo"
    low = load_config(ROOT / "configs" / "low-label.yaml")
    assert low.finetune.max_labelled_admissions == 400
    assert low.pretrain.base == load_config(DEMO).pretrain.base


def test_every_deployment_names_a_flow_and_has_a_name_of_its_own() -> None:
    declared = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
    flows = [
        getattr(importlib.import_module(module), name)
        for module, _, name in (each["entrypoint"].rpartition(".") for each in declared)
    ]
    assert {flow.name for flow in flows} == NAMES
    assert len({each["name"] for each in declared}) == len(declared) == len(NAMES)


@pytest.mark.parametrize(
    ("encoding", "text", "told"),
    [
        ("latin-1", "name: caf\xe9", "is not UTF-8 text"),
        ("utf-16", "name: demo", "is not UTF-8 text"),
        ("utf-8", "- a\n- b", "holds no keys"),
        ("utf-8", "1: a", "holds no keys"),
        ("utf-8", "name: [demo\n", "is not YAML at line"),
        ("utf-8", "a: " + "[" * 5000, "is not YAML"),
        ("utf-8", "when: 2020-99-99", "is not YAML"),
        ("utf-8", "a: *nothing", "is not YAML at line"),
        ("utf-8", "a: !!python/object:os.system {}", "is not YAML at line"),
        ("utf-8", "preset: 3", "'preset' must be the path"),
        ("utf-8", "preset: gone.yaml", r"gone\.yaml cannot be read"),
        ("utf-8", "preset: .", "cannot be read"),
        ("utf-8", "", "holds no keys"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, encoding: str, text: str, told: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding=encoding)
    with pytest.raises(ConfigError, match=told) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_preset_of_itself_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"preset: {second}")
    second.write_text(f"preset: {first}")
    with pytest.raises(ConfigError, match=r"first\.yaml is a preset of itself"):
        load_config(first)
    second.write_text(f"{{name: all, runs: [{{preset: {second}}}]}}")
    with pytest.raises(ConfigError, match=r"second\.yaml is a preset of itself"):
        load_compare(second)


def test_a_utf8_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"preset: {DEMO}\nname: bom", encoding="utf-8-sig")
    assert load_config(path).name == "bom"


@pytest.mark.parametrize(
    "override", ["ingest.view=full", "ingest.view={kind: full}", "ingest={view: full}"]
)
def test_a_kind_alone_stands_for_a_mapping_of_that_kind(override: str) -> None:
    config = load_config(DEMO, ["ingest.allow_leak=true", override])
    assert isinstance(config.ingest.view, FullView)


def test_kinds_alone_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    ingest = {"view": "full", "allow_leak": True, "outcomes": ["mortality"]}
    path.write_text(yaml.safe_dump({"preset": str(DEMO), "ingest": ingest}))
    config = load_config(path)
    assert isinstance(config.ingest.view, FullView)
    assert [outcome.kind for outcome in config.ingest.outcomes] == ["mortality"]


def test_the_same_kind_alone_keeps_what_was_given() -> None:
    assert load_config(DEMO, ["pretrain.base=scratch"]) == load_config(DEMO)


def test_an_entry_of_a_list_is_numbered() -> None:
    """The demo's file gives no outcomes: the entry is one of the default's."""
    config = load_config(DEMO, ["ingest.outcomes.0.min_count=2"])
    assert config.ingest.outcomes[0] == DiagnosesConfig(min_count=2)
    assert config.ingest.outcomes[1:] == load_config(DEMO).ingest.outcomes[1:]
    codiesp = ROOT / "configs" / "codiesp.yaml"
    assert load_config(codiesp, ["ingest.outcomes.1.min_count=3"]).ingest.outcomes[1].min_count == 3
    targets = load_config(DEMO, ["pretrain.adapter.targets.0=k_proj"]).pretrain.adapter.targets
    assert targets[:2] == ("k_proj", "k_proj")


WORDS = st.text(st.sampled_from("abe_.{}[],:*&!|>'\"#%@`=- \t\n0123456789ñ\u2028\x00"), max_size=30)
KEYS = st.sampled_from(
    [
        *("name", "ingest", "ingest.outcomes", "ingest.outcomes.0", "ingest.outcomes.9.kind"),
        *("ingest.view", "pretrain.base", "pretrain.base.kind", "finetune.adapter.targets", "a..b"),
        *("baselines.tfidf.strengths.0", "evaluate.truth", "launch.ranks", "runs.0", "preset", ""),
    ]
)


@given(key=KEYS | WORDS, value=WORDS)
@settings(max_examples=400, deadline=None)
def test_no_override_ends_in_anything_but_a_line(key: str, value: str) -> None:
    for load, path in ((load_config, DEMO), (load_compare, COMPARISONS[0])):
        with suppress(ConfigError):
            load(path, [f"{key}={value}"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.dates(),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "path", "0", "1", "x", "min_count"]), inside)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "ingest", "pretrain", "finetune", "evaluate", "launch", "runs"]),
        st.dictionaries(
            st.sampled_from(["outcomes", "view", "base", "adapter", "split", "members"]),
            VALUES,
        )
        | VALUES,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_file_ends_in_anything_but_a_line(tmp_path_factory: Any, given: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "mine.yaml"
    path.write_text(yaml.safe_dump({"preset": str(DEMO), **given}, allow_unicode=True))
    for load in (load_config, load_compare):
        with suppress(ConfigError):
            load(path)


def test_where_a_configuration_comes_from_is_no_setting_of_the_run(tmp_path: Path) -> None:
    """The same run from a file and over a preset of it has the same report."""
    above = tmp_path / "above.yaml"
    above.write_text(yaml.safe_dump({"preset": str(DEMO)}))
    elsewhere = load_config(DEMO, ["launch.ranks=7", "audit.terms=3"])
    told = settings_of(load_config(DEMO))
    assert told == settings_of(load_config(above)) == settings_of(elsewhere)
    assert told["finetune"], "what was done is told"
    assert settings_of(load_config(DEMO, ["finetune.epochs=77"])) != told


@pytest.mark.parametrize(("former", "now"), MOVED.items())
def test_a_key_that_moved_is_named_with_its_new_place(former: str, now: str) -> None:
    with pytest.raises(ConfigError, match=rf"the key '{former}' is now '{now}'; rename it$"):
        load_config(DEMO, [f"{former}=1"])
    assert not is_key(AdaptConfig, former)
    assert is_key(AdaptConfig, now)


def test_a_note_longer_than_the_bases_positions_is_read_in_chunks_or_refused(
    tmp_path: Path,
) -> None:
    described = {"model_type": "gpt2", "n_positions": 64, "architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "config.json").write_text(json.dumps(described))
    for long_notes in ("head", "head_tail", "chunks"):
        config = load_config(DEMO, ["finetune.max_tokens=65", f"finetune.long_notes={long_notes}"])
        pretrain = config.pretrain.model_copy(update={"base": PathBase(path=tmp_path)})
        config = config.model_copy(update={"pretrain": pretrain})
        if long_notes == "chunks":
            _check_lengths(config)
            continue
        with pytest.raises(ConfigError, match=r"set finetune\.long_notes to chunks"):
            _check_lengths(config)
