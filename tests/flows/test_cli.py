"""The command's own words: whole, in one line, and with the exit code of a failure."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from tests.flows.conftest import ROOT

DEMO = str(ROOT / "configs" / "demo.yaml")
Said = tuple[int, str, str]
PISSA_IN_PARTS = tuple(
    word
    for key in ("adapter=pissa", "training.deepspeed=configs/deepspeed/zero3.json")
    for word in ("--set", f"pretrain.{key}")
)


@pytest.fixture
def clinfuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Call the command in this process; its exit code and what it printed."""

    def call(*arguments: str) -> Said:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["clinfuse", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else 0, printed.out, printed.err

    return call


def test_it_says_its_version(clinfuse: Callable[..., Said]) -> None:
    code, printed, _ = clinfuse("--version")
    assert (code, printed) == (0, f"clinfuse {importlib.metadata.version('clinfuse')}\n")


def test_a_comparison_and_a_search_are_checked_as_what_they_are(
    clinfuse: Callable[..., Said], tmp_path: Path
) -> None:
    run = f"{{preset: {DEMO}, ingest: {{source: {tmp_path}/none}}}}"
    compared, searched = tmp_path / "compared.yaml", tmp_path / "searched.yaml"
    compared.write_text(f"name: two\nruns: [{run}]\n")
    searched.write_text(
        f"preset: {DEMO}\nmember: fused\ntrials: 2\nspace: {{finetune.epochs: [1, 2]}}\n"
        f"ingest: {{source: {tmp_path}/none}}\n"
    )
    for path in (compared, searched):
        code, _, told = clinfuse("check", str(path))
        assert code == 1
        assert f"{tmp_path}/none is not there" in told


@pytest.mark.parametrize("name", ["mimic [old]", "mimic [/v2.2]", "[/x]", "[bold red]"])
def test_brackets_in_a_path_are_printed_as_they_are(
    clinfuse: Callable[..., Said], tmp_path: Path, name: str
) -> None:
    for arguments in (
        ("check", str(tmp_path / name)),
        ("check", DEMO, "--set", f"ingest.source='{tmp_path / name}'"),
        ("ls", "--store", str(tmp_path / name)),
    ):
        code, _, told = clinfuse(*arguments)
        assert code == 1
        assert str(tmp_path / name) in told
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("synth", "/etc/passwd"), "/etc/passwd is a file"),
        (("synth", "/proc/no/such", "--patients", "20"), "/proc/no"),
        (("synth", "{tmp}", "--over", "/no/such"), "/no/such"),
        (("check", DEMO, "--set", "a=["), "--set a=["),
        (("check", DEMO, "--set", "=1"), "write it as key=value"),
        (("check", DEMO, "--set", "ingest.source=/no/such"), "'ingest.source': /no/such is not"),
        (("check", DEMO, "--set", "evaluate.truth=/no/such"), "'evaluate.truth': /no/such is not"),
        (("check", DEMO, "--set", "finetune.training.deepspeed=README.md"), "is not readable JSON"),
        (("check", DEMO, "--set", "launch.accelerator=cuda"), "shows no GPU"),
        (("check", DEMO, "--set", "finetune.adapter.targets=[q_prj]"), "nearest: q_proj"),
        (("check", DEMO, "--set", "finetune.training.batch_size=1"), "there are 2 ranks"),
        (("check", DEMO, "--set", "pretrain.sequence_length=9000"), "reads at most"),
        (("check", DEMO, "--set", "pretrain.training.deepspeed={tmp}/own.json"), "sets optimizer"),
        (("check", DEMO, "--set", "pretrain.base={kind: path, path: /etc}"), "no config.json"),
        (("check", DEMO, "--set", "pretrain.adapter=prompt"), "members=[unfused]"),
        (("check", DEMO, "--set", "pretrain.adapter=full"), "(fusion: merged)"),
        (("check", DEMO, "--set", "pretrain.adapter=ia3"), "stands beside lora"),
        (("check", DEMO, *PISSA_IN_PARTS), "is ZeRO-3"),
    ],
)
def test_what_is_wrong_is_one_line(
    clinfuse: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("flows.check.has_gpu", lambda: False)
    (tmp_path / "own.json").write_text('{"optimizer": {"type": "Adam"}}')
    known = [f"ingest.source={tmp_path}", f"pretrain.base.corpus={tmp_path}"]
    if arguments[0] == "check":  # the demo's files need not be there
        given = [*known, "evaluate.truth=null"]
        more = [word for each in given for word in ("--set", each)]
        arguments = (*arguments[:2], *more, *arguments[2:])
        monkeypatch.setattr("flows.check.check_source", lambda config: None)
    code, _, printed = clinfuse(*(each.replace("{tmp}", str(tmp_path)) for each in arguments))
    assert code == 1
    assert told in printed
    assert printed.startswith("clinfuse:")
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ((), "by lora, at a peak learning rate of 0.003"),
        (
            ("adapter=dora", "training.learning_rate=null"),
            "by dora, at a peak learning rate of 0.0002",
        ),
        (("adapter=pissa",), "by pissa, at a peak learning rate of 0.003"),
        (("adapter=dora",), "member 'fused': DoRA scales what was added before it, so that the"),
        (("adapter=dora",), "the order counts: base, clinical, task"),
    ],
)
def test_a_check_says_the_method_its_rate_and_where_the_order_of_a_sum_counts(
    clinfuse: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sets: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("flows.check.check_source", lambda config: None)
    given = [f"ingest.source={tmp_path}", "evaluate.truth=null"]
    given += [f"pretrain.{each}" for each in (f"base.corpus={tmp_path}", *sets)]
    code, printed, _ = clinfuse("check", DEMO, *(w for each in given for w in ("--set", each)))
    assert code == 0
    assert told in printed
    assert ("order counts" in printed) == ("adapter=dora" in sets)
