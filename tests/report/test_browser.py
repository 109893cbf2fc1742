"""The page of a run in a real Chromium, opened from disk."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from corrupted_run import build
from report_runs import HOSTILE, forty_cells, hostile, smoothed, two_radii
from synthetic_run import Planned, build_run

from bench import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the extra browser")
    named = os.environ.get("BENCH_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium: install Debian's package chromium, or set BENCH_CHROMIUM to another")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Heard:
    """What pages said and asked for while a test ran."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def request(self, request: Request) -> None:
        if not request.url.startswith(("file://", "data:")):
            self.requests.append(request.url)


Opened = Callable[..., "Page"]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Opened]:
    """Opens a page from disk; at the end it must have said no error, shown no dialog and asked the network for nothing."""
    heard, contexts = Heard(), []

    def visited(path: Path, **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": DESK, "color_scheme": "light", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", heard.console)
        page.on("pageerror", lambda error: heard.errors.append(str(error)))
        page.on("request", heard.request)
        page.on("dialog", lambda dialog: (heard.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield visited
    for context in contexts:
        context.close()
    assert heard == Heard()


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = report.write(forty_cells(tmp_path_factory.mktemp("forty")))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = report.write(two_radii(tmp_path_factory.mktemp("small")))
    return path


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = report.write(smoothed(tmp_path_factory.mktemp("smoothed")))
    return path


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = report.write(build(tmp_path_factory.mktemp("corrupted"), ["fog", "gaussian_noise"], models=("a", "b")))
    return path


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planned = [
        Planned(model="a", attack="fgsm", broken=range(5), defense="jpeg-q75", examples=range(9), purified=[1, 2]),
        Planned(model="a", attack="fgsm", status="error", reason="it burst", rows=[]),
        Planned(model="b", attack="fgsm", broken=range(9), examples=range(9)),
    ]
    (path,) = report.write(build_run(tmp_path_factory.mktemp("unfinished"), planned))
    return path


@pytest.fixture(scope="module")
def marked_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = report.write(*hostile(tmp_path_factory.mktemp("hostile")))
    return path


def models(page: Page, table: int = 0) -> list[str]:
    """The models of a table's visible rows, from the top."""
    return [text.strip() for text in page.locator(f"#table-{table} tbody tr:visible th").all_inner_texts()]


# -- tables --------------------------------------------------------------------------------------------------------------


def test_headers_sort_and_say_so(visit: Opened, forty: Path) -> None:
    page = visit(forty)
    head = page.locator("#table-0 thead th", has_text="worst case")
    rank = page.locator("#table-0 thead th", has_text="rank")
    assert rank.get_attribute("aria-sort") == "ascending"
    best = models(page)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert rank.get_attribute("aria-sort") is None
    assert models(page) == best
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert models(page) == best[::-1]
    page.locator("#table-0 thead th", has_text="model").get_by_role("button").click()
    assert models(page) == [f"model-{i}" for i in range(5)]


def test_what_has_no_number_sorts_last_either_way(visit: Opened, unfinished: Path) -> None:
    page = visit(unfinished)
    button = page.locator("#table-0 thead th", has_text="clean").get_by_role("button")
    for _ in range(2):
        button.click()
        ranks = page.locator("#table-0 .leaderboard tbody tr").all_inner_texts()
        assert "error" in ranks[-1]


def test_the_keyboard_sorts_and_reaches_everything(visit: Opened, forty: Path) -> None:
    page = visit(forty)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the leaderboard"
    page.locator("#table-0 thead button", has_text="worst case").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert page.locator("#table-0 thead th", has_text="worst case").get_attribute("aria-sort") == "ascending"
    outline = page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert outline == "solid2px"
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {
        "theme",
        "find",
        "ball",
        "defense",
        "INPUT",
        "BUTTON",
        "chart-attacks",
        "chart-eps",
        "pair-a",
        "SUMMARY",
    } <= reached


def test_filters_narrow_the_tables(visit: Opened, forty: Path) -> None:
    page = visit(forty)
    page.locator("#find").fill("model-3")
    assert models(page) == models(page, 1) == ["model-3"]
    assert page.locator("#found").inner_text() == "2 of 10 rows"
    assert page.locator("details.about:visible").count() == 1
    page.locator("#ball").select_option("table-1")
    assert page.locator("#table-0").is_hidden()
    assert page.locator("#found").inner_text() == "1 of 10 rows"
    page.locator("#find").fill("nothing like it")
    assert models(page, 1) == []
    page.locator("#find").fill("")
    page.locator("#ball").select_option("")
    assert page.locator("#found").inner_text() == ""


def test_the_filter_of_defenses(visit: Opened, unfinished: Path) -> None:
    page = visit(unfinished)
    page.locator("#defense").select_option("=jpeg-q75")
    assert page.locator("#table-0 tbody tr:visible").count() == 1
    page.locator("#defense").select_option("=none")
    assert page.locator("#table-0 tbody tr:visible").count() == 2


def test_a_flag_leads_to_its_note_and_a_name_opens_its_row(visit: Opened, unfinished: Path) -> None:
    page = visit(unfinished)
    page.locator("#table-0 .marks a").first.click()
    assert page.evaluate("document.activeElement.id").startswith("table-0-note-")
    page.locator("#table-0 tbody tr").first.locator("th a").click()
    assert page.locator("details.about[open]").count() == 1


# -- two rows ------------------------------------------------------------------------------------------------------------


def test_two_rows_picked_in_the_table_are_compared(visit: Opened, small: Path) -> None:
    page = visit(small)
    data = json.loads(page.locator("#data").text_content() or "")["compared"][1]
    (pair,) = data["pairs"]
    page.locator("#row-1-0 input").check()
    assert "Pick two rows" in page.locator("#pair-found").inner_text()
    page.locator("#row-1-1 input").check()
    line = page.locator("#pair-found tbody tr").nth(1)
    shown = line.locator("td").all_inner_texts()
    worst = pair["worst"]
    p = "< 0.001" if worst["p"] < 0.001 else f"{worst['p']:.3f}"
    assert shown[:2] == [data["rows"][0]["worst"], data["rows"][1]["worst"]]
    assert shown[2] == f"{100 * worst['difference']:+.1f}".replace("-", "−")
    assert shown[4:] == [str(worst["gained"]), str(worst["lost"]), p]
    # The other way round, through the lists.
    page.locator("#pair-a").select_option("1")
    page.locator("#pair-b").select_option("0")
    turned = line.locator("td").all_inner_texts()
    assert turned[2] == f"{-100 * worst['difference']:+.1f}".replace("-", "−")
    assert turned[4:] == [str(worst["lost"]), str(worst["gained"]), p]
    assert page.locator("#row-1-0 input").is_checked()
    page.locator("#row-0-1 input").check()  # of another table: begins anew
    assert not page.locator("#row-1-0 input").is_checked()


def test_a_bound_is_not_compared(visit: Opened, unfinished: Path) -> None:
    page = visit(unfinished)
    page.locator("#table-0 .pick input").nth(0).check()
    page.locator("#table-0 .pick input").nth(2).check()
    assert "not compared: only known to be at most that" in page.locator("#pair-found").inner_text()


# -- plots ---------------------------------------------------------------------------------------------------------------


PAINTED = """id => {
  const from = document.getElementById(id), copy = document.createElement("canvas");
  copy.width = from.width;
  copy.height = from.height;
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(from, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data;
  return data.filter((value, at) => at % 4 === 3 && value > 0).length;
}"""
MARKER = """() => {
  const chart = Chart.getChart("chart-clean"), mark = chart.getDatasetMeta(0).data[0];
  const box = chart.canvas.getBoundingClientRect();
  return [box.x + mark.x, box.y + mark.y];
}"""


def painted(page: Page, canvas: str) -> int:
    """How many pixels of a canvas are not empty."""
    return int(page.evaluate(PAINTED, canvas))


def test_plots_follow_their_controls_and_the_arrow_keys_read_them(visit: Opened, small: Path) -> None:
    page = visit(small)
    before = {canvas: painted(page, canvas) for canvas in ("chart-attacks", "chart-eps", "chart-clean")}
    assert min(before.values()) > 1000
    canvas = page.locator("#chart-eps")
    reading = canvas.locator("xpath=ancestor::figure").locator(".reading")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"[ab]: clean at eps 0: 95\.0 % \(\d+\.\d–\d+\.\d\), n = 20", reading.inner_text())
    page.keyboard.press("End")
    assert "worst case at eps 8/255" in reading.inner_text()
    for box in page.locator("#legend input").all():
        box.uncheck()
    assert painted(page, "chart-attacks") < before["chart-attacks"]
    assert "No row is chosen" in page.locator("#plots").inner_text()


def read(page: Page, canvas: str) -> list[str]:
    """What the arrow keys read of a plot, from its first marker to its last."""
    reading = page.locator(f"#{canvas}").locator("xpath=ancestor::figure").locator(".reading")
    page.locator(f"#{canvas}").focus()
    page.keyboard.press("End")
    last, found = reading.inner_text(), [""]
    page.keyboard.press("Home")
    while found[-1] != last:
        found.append(reading.inner_text())
        page.keyboard.press("ArrowRight")
    return found[1:]


def test_curves_against_passes_are_read_like_the_others(visit: Opened, certified: Path) -> None:
    page = visit(certified)
    assert painted(page, "chart-passes") > 1000
    assert page.locator("#chart-passes-ball option").all_inner_texts() == ["L2 0.25", "L2 0.5"]
    page.locator("#chart-passes-ball").select_option("0")
    ends = r"\(\d+\.\d–\d+\.\d\), n = 20"
    told = read(page, "chart-passes")
    first = [text for text in told if text.startswith("a: ")]
    assert [re.sub(ends, "", text) for text in first] == [
        "a: pgd-20 after 1 pass: 95.0 % ", "a: pgd-20 after 10 passes: 85.0 % ", "a: pgd-20 after 80 passes: 65.0 % ",
    ]  # fmt: skip
    page.locator("#chart-passes-attack").select_option("gradient-free")
    assert not any(text.startswith("a: ") for text in read(page, "chart-passes"))
    page.locator("#chart-passes-attack").select_option(label="all attacks")
    assert {text.split(" after")[0] for text in read(page, "chart-passes")} == {
        "a: pgd-20", "b: pgd-20", "a + smoothing-s0.25: pgd-20", "b + smoothing-s0.25: pgd-20",
        "a + smoothing-s0.25: gradient-free", "b + smoothing-s0.25: gradient-free",
    }  # fmt: skip


def test_certificates_are_read_as_lower_bounds_below_the_attacks(visit: Opened, certified: Path) -> None:
    page = visit(certified)
    before = painted(page, "chart-certified")
    assert before > 1000
    own = [text for text in read(page, "chart-certified") if text.startswith("a + smoothing-s0.25: ")]
    assert [text.split(" (")[0].split(": ", 1)[1] for text in own] == [
        "worst case of the attacks at eps 0.25: 80.0 %", "worst case of the attacks at eps 0.5: 70.0 %",
        "certified at any radius: ≥ 40.0 %", "certified at radius 0.25: ≥ 30.0 %", "certified at radius 0.5: ≥ 20.0 %",
    ]  # fmt: skip
    for box in page.locator("#legend input").all():
        box.uncheck()
    assert painted(page, "chart-certified") < before


def test_a_page_of_corruptions_alone_draws_their_severities(visit: Opened, corrupted: Path) -> None:
    page = visit(corrupted, viewport=PHONE)
    assert painted(page, "chart-severity") > 1000
    told = [re.sub(r" \(.*", "", text) for text in read(page, "chart-severity")]
    assert told[:2] == ["a: clean: 97.5 %", "a: severity 1: 91.3 %"]
    assert len(told) == 12
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_javascript_the_curves_are_tables(visit: Opened, certified: Path) -> None:
    page = visit(certified, java_script_enabled=False)
    page.get_by_text("Certified accuracy by radius, L2").click()
    assert page.locator("#plots table:visible").inner_text().startswith("row")


def test_pointing_at_a_marker_tells_its_number(visit: Opened, small: Path) -> None:
    page = visit(small)
    page.evaluate("document.getElementById('chart-clean').scrollIntoView({block: 'center'})")
    page.mouse.move(*page.evaluate(MARKER))
    page.wait_for_timeout(100)
    body = page.evaluate("Chart.getChart('chart-clean').tooltip.body[0].lines.join()")
    assert re.search(r"worst case: \d+\.\d % \(\d+\.\d–\d+\.\d\), n = 20", body)


# -- looks ---------------------------------------------------------------------------------------------------------------


def paper(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Opened, small: Path) -> None:
    light, dark = "rgb(255, 255, 255)", "rgb(22, 24, 27)"
    page = visit(small)
    assert paper(page) == light
    page.get_by_role("button", name="Dark").click()
    assert paper(page) == dark
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    page.reload()
    assert paper(page) == dark
    other = visit(small, color_scheme="dark")
    assert paper(other) == dark
    other.locator("#theme").click()
    assert paper(other) == light


@pytest.mark.parametrize("which", ["forty", "unfinished", "marked_up", "certified"])
def test_a_phone_never_scrolls_the_page_sideways(visit: Opened, which: str, request: pytest.FixtureRequest) -> None:
    page = visit(request.getfixturevalue(which), viewport=PHONE, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for box in page.locator("#table-0 .pick input").all()[:2]:
        box.check()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = page.locator("#table-0 .scroll").first
    assert wide.evaluate("one => one.scrollWidth > one.clientWidth")


def test_print_opens_everything_in_light(visit: Opened, forty: Path) -> None:
    page = visit(forty, color_scheme="dark")
    content = page.pdf(format="A4")
    assert content.startswith(b"%PDF")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert paper(page) == "rgb(255, 255, 255)"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert paper(page) == "rgb(22, 24, 27)"


def test_without_javascript_the_numbers_are_there(visit: Opened, small: Path) -> None:
    page = visit(small, java_script_enabled=False)
    assert page.locator("#table-0 tbody tr").count() == 2
    assert page.locator("#filter").is_hidden()
    assert page.locator("#compare").is_hidden()


def test_downloads_are_inside_the_page(visit: Opened, small: Path, tmp_path: Path) -> None:
    page = visit(small)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    target = tmp_path / "x.csv"
    download.value.save_as(target)
    assert download.value.suggested_filename == "leaderboard.csv"
    assert target.read_text().startswith("suite,run,dataset")


# -- safety --------------------------------------------------------------------------------------------------------------


def test_markup_in_names_stays_text(visit: Opened, marked_up: Path) -> None:
    page = visit(marked_up)
    assert HOSTILE[0] in models(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for box in page.locator("#table-0 .pick input").all()[:2]:
        box.check()
    page.locator("#find").fill("script")
    for canvas in ("chart-attacks", "chart-eps", "chart-clean", "chart-passes"):
        page.locator(f"#{canvas}").focus()
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("script").count() == 4
    names = page.locator("#pair-a option").all_inner_texts()
    assert any(HOSTILE[0] in name for name in names)
    # that nothing ran, the fixture sees: no dialog, no console error


def test_what_is_slipped_in_does_not_run(visit: Opened, small: Path, tmp_path: Path) -> None:
    """Even if something got past the escaping, the policy stops it."""
    changed = tmp_path / "report.html"
    text = small.read_text(encoding="utf-8")
    changed.write_text(
        text.replace(
            "<main>",
            "<main><script>document.title = 'ran'</script><img src='data:,' onerror=\"document.title = 'ran'\">",
        )
    )
    context_errors: list[str] = []
    page = visit(small)
    assert page.title() != "ran"
    other = page.context.new_page()
    other.on("console", lambda message: context_errors.append(message.text))
    other.goto(changed.as_uri())
    other.wait_for_timeout(200)
    assert other.title() != "ran"
    assert any("Content Security Policy" in text for text in context_errors)


# -- accessibility -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["unfinished", "certified"])
def test_axe_finds_nothing(visit: Opened, which: str, scheme: str, request: pytest.FixtureRequest) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: install the extra browser")
    page = visit(request.getfixturevalue(which), color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for box in page.locator("#table-0 .pick input").all()[:2]:
        box.check()
    found = axe.Axe().run(page).response["violations"]
    told = [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
    assert told == []
