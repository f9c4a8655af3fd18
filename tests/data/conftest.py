"""The admissions, outcomes and models that finetuning is tested on."""

from tests.finetune.conftest import inputs as inputs
