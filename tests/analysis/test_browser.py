"""The report in a real browser, without a network: no errors, names on hover, every theme and
width."""

import re
import shutil
from pathlib import Path

import pytest
from written_studies import SWEEP, config, draw_rungs, write_log, write_study, write_trial

from secnn.analysis import report

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
THEMES = {"light": (255, 255, 255), "dark": (21, 24, 28)}
WIDTHS = (1400, 390)
ODD = "<b>$x^2$&"
POINT = """
([place, name, index]) => {
  const chart = document.getElementById(place);
  const trace = chart.data.find((t) => t.name === name && t.mode === "markers");
  const area = chart.querySelector(".nsewdrag").getBoundingClientRect();
  const axes = chart._fullLayout;
  return [area.left + axes.xaxis.d2p(trace.x[index]), area.top + axes.yaxis.d2p(trace.y[index])];
}
"""
"""Where on the screen a point is."""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"needs a browser: one of {', '.join(PROGRAMS)}")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """A report with every chart, and a criterion of a name that a page could take amiss."""
    out = tmp_path_factory.mktemp("browser") / "study"
    configs = [*SWEEP, config(criterion=ODD)]
    for i, key in enumerate(write_study(out, configs, reference=config())):
        epochs = draw_rungs(i)
        write_trial(out, key, epochs, 70.0)
        grown = epochs.loc[epochs["expansion"].notna(), ["epoch"]]
        promised = {"predicted_reduction": 0.5, "realised_reduction": 0.1, "reason": "why"}
        rows = grown.assign(kind="AddChannels", block=2, channels=4, chosen=True, **promised)
        write_log(out, "expansions", key, rows)
    assert report.main([str(out)]) == 0
    return out / "analysis" / "report.html"


@pytest.fixture
def open_page(browser, page_file):
    """Opens the report; at the end there may have been no message, error or request."""
    contexts, said = [], []

    def opened(width: int = 1400, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if _far(request.url) else None)
        page.goto(page_file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def _far(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_the_page_is_drawn_in_both_themes_and_at_both_widths(theme, width, open_page):
    phone = width < 500
    page = open_page(width, color_scheme=theme, is_mobile=phone, has_touch=phone)
    page.wait_for_selector("html.ready")
    assert page.locator(".chart").count() == page.locator(".chart:has(.main-svg)").count() == 4
    assert page.locator(".chart img").count() == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert tuple(map(int, re.findall(r"\d+", ground))) == THEMES[theme]
    # Nothing reaches beyond the screen, and text can be read without zooming.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    assert min(page.locator("p, td, dd, figcaption").evaluate_all(f"all => all.map({size})")) > 11
    boxes = [box.bounding_box() for box in page.locator(".chart .plotly").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    ink = page.locator(".chart .xtitle").first.evaluate("e => getComputedStyle(e).fill")
    assert (min(map(int, re.findall(r"\d+", ink)[:3])) > 128) == (theme == "dark")


OVERLAPS = """
() => [...document.querySelectorAll(".chart")].flatMap((chart) =>
  ["g.xtick text", "g.ytick text", "g.x2tick text", "g.y2tick text", "g.y3tick text",
   "text.xtitle, text.x2title", "text.ytitle, text.y2title, text.y3title"].flatMap((kind) => {
    const texts = [...chart.querySelectorAll(kind)];
    const boxes = texts.map((text) => text.getBoundingClientRect());
    return texts.flatMap((text, i) => boxes.slice(0, i).flatMap((other, j) =>
      boxes[i].left < other.right && other.left < boxes[i].right &&
      boxes[i].top < other.bottom - 1 && other.top < boxes[i].bottom - 1
        ? [`${chart.id}: ${text.textContent} over ${texts[j].textContent}`] : []));
  }))
"""
"""Ticks over each other, and titles of axes."""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_an_axis_lies_over_another(width, open_page):
    page = open_page(width)
    page.wait_for_selector("html.ready")
    assert page.evaluate(OVERLAPS) == []


def test_names_are_shown_letter_by_letter(open_page):
    page = open_page()
    page.wait_for_selector("html.ready")
    shown = page.locator("#s0-accuracy-0 .legendtext").all_text_contents()
    assert ODD in shown


def test_pointing_at_a_network_tells_its_name_and_source(open_page):
    page = open_page()
    page.wait_for_selector("html.ready")
    page.locator("#s0-accuracy-0").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate(POINT, ["s0-accuracy-0", "the paper", 0]))
    page.wait_for_selector(".hoverlayer .hovertext")
    told = page.locator("#s0-accuracy-0 .hoverlayer").text_content()
    assert "paper, smallest at 70 %" in told and "9,024 parameters" in told
    assert "arXiv:2401.05686" in told


def test_a_tap_tells_and_leaves_the_axes_as_they_are(open_page):
    """Plotly counts two clicks of a tap, of which it would make a change of the axes."""
    page = open_page(390, is_mobile=True, has_touch=True)
    page.wait_for_selector("html.ready")
    page.locator("#s0-accuracy-0 .nsewdrag").scroll_into_view_if_needed()
    read = "[...document.getElementById('s0-accuracy-0').layout.xaxis.range]"
    before = page.evaluate(read)
    for _ in range(2):
        page.touchscreen.tap(*page.evaluate(POINT, ["s0-accuracy-0", "the paper", 0]))
        page.wait_for_selector(".hoverlayer .hovertext")
        page.wait_for_timeout(400)  # A second click would count until then.
        assert "9,024 parameters" in page.locator("#s0-accuracy-0 .hoverlayer").text_content()
        assert page.evaluate(read) == before


def test_the_axis_can_be_switched_and_data_is_a_click_away(open_page):
    page = open_page()
    page.wait_for_selector("html.ready")
    axis = page.locator("#s0-accuracy-0 .xtitle")
    assert axis.text_content() == "parameters"
    page.get_by_role("button", name="multiply-adds").click()
    page.wait_for_function(
        "document.querySelector('#s0-accuracy-0 .xtitle').textContent.startsWith('multiply-adds')"
    )
    for link in page.locator("a.csv").all():
        with page.expect_download() as download:
            link.click()
        name = download.value.suggested_filename
        assert name.endswith(".csv")
        assert Path(download.value.path()).read_text().splitlines()[0].count(",") > 3


def test_a_change_of_theme_changes_the_charts(open_page):
    page = open_page(color_scheme="light")
    page.wait_for_selector("html.ready")
    read = "getComputedStyle(document.querySelector('.xtitle')).fill"
    before = page.evaluate(read)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{read} !== '{before}'")
    assert page.evaluate(read) != before


def test_decisions_unfold(open_page):
    page = open_page()
    page.wait_for_selector("html.ready")
    candidate = page.get_by_text("● 4 channels in block 2").first
    assert not candidate.is_visible()
    page.locator("details > summary").first.click()
    page.locator("details.inner > summary").first.click()
    assert candidate.is_visible()


def test_without_javascript_there_are_pictures(open_page):
    page = open_page(java_script_enabled=False)
    pictures = page.locator(".chart img")
    assert pictures.count() == 4
    assert all(picture.bounding_box()["width"] > 300 for picture in pictures.all())
    assert page.locator(".csv").first.evaluate("e => getComputedStyle(e).visibility") == "hidden"
