"""The pictures of the README: a run's page in Prefect's UI, and the report.

    python -m tests.pictures build/store

Takes them of the demo, which it runs on a server of its own; what is in the store is not made anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from tests.flows.conftest import BIN, serving
from tests.report.chromium import CHROMIUM, FLAGS

OUT = Path(__file__).parents[1] / "infra" / "pictures"
_SIZE = {"width": 1280, "height": 860}


def main(store: Path) -> None:
    """Run the demo, and take both pictures into infra/pictures."""
    OUT.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "prefect") as (environment, _),
    ):
        command = [str(BIN / "clinfuse"), "run", "configs/demo.yaml", "--store", str(store)]
        subprocess.run(command, env=environment, check=True)
        take(environment["PREFECT_API_URL"], newest_report(store), OUT)


def newest_report(store: Path) -> Path:
    """The report that was made last."""
    return max(store.glob("report/*/report.html"), key=lambda path: path.stat().st_mtime)


def take(api: str, report: Path, out: Path) -> None:
    """Take the pictures of the newest run of a server, and of a report, into out."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport=_SIZE)  # type: ignore[arg-type]
        page.goto(f"{api.removesuffix('/api')}/runs/flow-run/{_newest_run(api)}")
        page.get_by_text("Completed").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=out / "run.png")
        page = browser.new_page(viewport=_SIZE)  # type: ignore[arg-type]
        page.set_content(report.read_text(), wait_until="domcontentloaded")
        page.screenshot(path=out / "report.png")
        browser.close()


def _newest_run(api: str) -> str:
    """The one that was started last of those that came to their end."""
    completed = {"state": {"name": {"any_": ["Completed"]}}}
    asked = urllib.request.Request(
        f"{api}/flow_runs/filter",
        data=json.dumps({"flow_runs": completed, "sort": "START_TIME_DESC", "limit": 1}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        runs: list[dict[str, Any]] = json.load(answer)
    name: str = runs[0]["id"]
    return name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
