"""A configuration is checked before anything runs, and answers in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from flows.chain import settings_of
from flows.config import AdaptConfig, CompareConfig, load_compare, load_config, merge
from tasks.errors import ConfigError
from tasks.pretrain.config import PathBase

ROOT = Path(__file__).parents[2]
COMPARISONS = sorted((ROOT / "configs").glob("compare-*.yaml"))
CONFIGS = sorted({*(ROOT / "configs").glob("*.yaml")} - {*COMPARISONS})
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
    assert CompareConfig.model_validate({"preset": str(path)}).runs == config.runs


def test_an_override_holds_for_every_run_of_a_comparison() -> None:
    path = ROOT / "configs" / "compare-low-label.yaml"
    found = load_compare(path, ["finetune.epochs=1", "seeds=[5]", "name=mine"])
    assert (found.name, found.seeds) == ("mine", (5,))
    assert [run.finetune.epochs for run in found.runs] == [1, 1, 1]
    assert [run.name for run in found.runs] == ["all-linear", "q-v", "with-embedding"]
    assert found.runs[1].finetune.lora.targets == ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("finetune.epocs=3", r"no key 'runs\.0\.finetune\.epocs'; did you mean 'epochs'"),
        ("seeds=[1, 1]", r"a seed is given twice"),
        ("seeds=[]", r"'seeds'.*at least 1 item"),
        ("reference=other/fused", r"'other/fused' is of no run here; runs: all-linear, q-v"),
        ("runs=[{preset: configs/demo.yaml}, {preset: configs/demo.yaml}]", r"named 'demo'"),
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
    assert merge(loaded, given) == loaded | {"ingest": merge(loaded["ingest"], given["ingest"])}
    assert loaded["pretrain"]["lora"]["targets"] == ["q_proj", "v_proj"]


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
        ("pretrain.base.kind=magic", r"pretrain\.base.*'scratch', 'path', 'hub'"),
        ("name=My Run", r"'name'.*'My Run'"),
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


def test_a_preset_gives_what_is_not_given() -> None:
    config = AdaptConfig.model_validate({"preset": str(DEMO), "finetune": {"epochs": 1}})
    assert config.finetune.epochs == 1
    assert config.name == "demo"
    low = load_config(ROOT / "configs" / "low-label.yaml")
    assert low.finetune.max_labelled_admissions == 400
    assert low.pretrain.base == load_config(DEMO).pretrain.base


def test_prefects_form_asks_for_no_key_that_a_preset_gives() -> None:
    assert "required" not in AdaptConfig.model_json_schema()


def test_every_deployment_in_the_readme_and_prefect_yaml_names_a_flow() -> None:
    declared = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text())["deployments"]
    assert len(declared) == 7
    for deployment in declared:
        module, _, name = deployment["entrypoint"].rpartition(".")
        source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
        assert re.search(rf"^def {name}\(", source, re.MULTILINE)


def test_where_a_configuration_comes_from_is_no_setting_of_the_run(tmp_path: Path) -> None:
    """The same run from a file, over a preset, and from Prefect's form has the same report."""
    above = tmp_path / "above.yaml"
    above.write_text(yaml.safe_dump({"preset": str(DEMO)}))
    posted = AdaptConfig.model_validate({"preset": str(DEMO)})
    elsewhere = load_config(DEMO, ["launch.ranks=7", "audit.terms=3"])
    settings = [settings_of(one) for one in (load_config(DEMO), load_config(above), posted)]
    assert settings[0] == settings[1] == settings[2] == settings_of(elsewhere)
    assert settings[0]["finetune"], "what was done is told"
    assert settings_of(load_config(DEMO, ["finetune.epochs=77"])) != settings[0]
