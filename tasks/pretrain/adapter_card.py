"""The card that lies in an adapter's own folder, so that its terms go where the weights go."""

from __future__ import annotations

from pathlib import Path

from tasks.model.adapters.methods import BaseName

_CARD = """\
---
library_name: peft
license: other
license_name: source-data-use-agreement
tags: [clinical, not-for-distribution]
---

# {title}

Trained by clinfuse on clinical notes, on the base {base}. For research only; not a medical device.

**These weights are as sensitive as the notes that they were trained on.** They fall under the \
data use agreement under which the notes were given: do not share them, upload them to a hub, or \
serve them to others outside of it. For MIMIC that is the PhysioNet Credentialed Health Data Use \
Agreement, which covers derivatives, too \
(https://physionet.org/news/post/llm-responsible-use). The base model's license holds as well.

`clinfuse audit memory` measures what an adapter that is trained in this way gives away of single \
notes. clinfuse uploads nothing.
"""


def write_adapter_card(out: Path, title: str, base: BaseName) -> None:
    """Write README.md beside the weights."""
    card = _CARD.format(title=title, base=base.name or "of unknown name")
    (out / "README.md").write_text(card, encoding="utf-8")
