"""The page in a real headless Chromium: on a desk, on a phone, on paper."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.report.page import write_report
from tasks.report.story import Story
from tests.report.chromium import CHROMIUM, FLAGS

PAPER = 703  # px: what is left of A4 within the page's margins
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_on_a_screen(page: str, tmp_path: Path, width: int) -> None:
    opened = "document.querySelectorAll('details').forEach(one => one.open = true);"
    size = "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    visible, needed = map(int, probed(page, tmp_path, width, opened, size))
    assert width - 20 <= visible <= width  # less a scroll bar
    assert needed <= visible


@pytest.mark.parametrize("width", [1280, 390])
def test_whose_patients_when_and_by_what_is_on_the_first_screen(
    story: Story, tmp_path: Path, width: int
) -> None:
    write_report(tmp_path, replace(story, synthetic=True))
    page = (tmp_path / "report.html").read_text()
    shown = """[...document.querySelectorAll(".made > *")].map(
      one => Math.ceil(one.getBoundingClientRect().bottom))"""
    bottoms = probed(page, tmp_path, width, "", shown)
    assert len(bottoms) == 4
    assert max(map(int, bottoms)) < 300, "far within a screen of 800"
    (line,) = re.findall(r'<p class="made">(.*?)</p>', page)
    words = ("Synthetic patients", "2026-11-26 14:05 UTC", "clinfuse 0.9.1", "commit 0123456789ab")
    assert re.sub("<[^>]*>", " ", line).split() == " ".join(words).split()


def test_real_patients_are_not_called_synthetic(page: str) -> None:
    assert '<p class="made"><span>2026-11-26' in page
    assert "Synthetic patients" not in page


def test_nothing_is_cut_off_on_paper(page: str, tmp_path: Path) -> None:
    # the print rules applied to a screen as wide as the paper; details are left closed
    assert "@media print" in page
    printed = page.replace("@media print", "@media all")
    cut = """[document.documentElement.scrollWidth,
      Math.ceil(Math.max(...[...document.querySelectorAll("table, svg, pre")]
        .map(one => one.getBoundingClientRect().right))),
      [...document.querySelectorAll("details:not(.screen) table")]
        .filter(one => !one.checkVisibility()).length,
      document.querySelectorAll("details:not(.screen) table").length]"""
    needed, farthest, hidden, tables = map(int, probed(printed, tmp_path, PAPER, "", cut))
    assert needed <= PAPER
    assert farthest <= PAPER
    assert tables >= 5
    assert hidden == 0, "a table within closed details must be printed all the same"


def test_it_prints(folder: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    flags = (f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    chromium(tmp_path, *flags, (folder / "report.html").as_uri())
    pages = re.findall(rb"/Type\s*/Page\b", paper.read_bytes())
    assert 5 <= len(pages) <= 40


def test_the_console_stays_empty(page: str, folder: Path, tmp_path: Path) -> None:
    assert console(tmp_path, folder / "report.html") == []
    for index, bad in enumerate(("<script>1</script>", "<img src='none.png'>")):
        planted = tmp_path / f"planted-{index}.html"
        planted.write_text(page.replace("</body>", f"{bad}</body>"))
        assert console(tmp_path, planted), "the policy refuses it, and the console says so"


def console(tmp_path: Path, page: Path) -> list[str]:
    """What the page writes to the browser's console."""
    done = chromium(tmp_path, "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri())
    assert "</html>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probed(page: str, tmp_path: Path, width: int, before: str, asked: str) -> list[str]:
    """Numbers that a script finds in the page when it is `width` px wide.

    In an iframe, because Chromium opens no window narrower than 500 px.
    """
    inner, outer = tmp_path / "inner.html", tmp_path / "outer.html"
    probe = f"""<script>addEventListener("load", () => {{ {before}
      parent.postMessage({asked}, "*"); }});</script>"""
    inner.write_text(POLICY.sub("", page).replace("</body>", f"{probe}</body>"))
    outer.write_text(
        "<script>addEventListener('message', e => document.title = e.data.join(' '))</script>"
        f"<iframe src='inner.html' style='width:{width}px;height:900px;border:0'></iframe>"
    )
    done = chromium(tmp_path, "--virtual-time-budget=5000", "--dump-dom", outer.as_uri())
    title = re.search(r"<title>([\d ]+)</title>", done.stdout)
    assert title, done.stderr[-500:]
    return title[1].split()


def chromium(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    return subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, "--window-size=1400,1000", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
