"""The admissions, outcomes and models that finetuning is tested on, and tokenizers."""

from pathlib import Path

import pytest

from tests.finetune.conftest import inputs as inputs


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizers") / request.param.__name__
    made.mkdir()
    request.param(made)
    return made
