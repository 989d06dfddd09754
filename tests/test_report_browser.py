"""The report in a real browser, opened from disk; skipped where there is no Playwright or no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidrec.report import write_report

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install sidrec[browser]"
)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's own Chromium, or one that the system has."""
    with playwright.sync_playwright() as started:
        paths = [None, *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
        for path in [paths[0], *(each for each in paths[1:] if each is not None)]:
            try:
                opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
            except playwright.Error:
                continue
            yield opened
            opened.close()
            return
        pytest.skip("There is no Chromium: playwright install chromium, or the package chromium")


@pytest.fixture(scope="module")
def report(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(toy_run, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}px")
def page(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Any]:
    """The report at one width; a word on the console or a request fails the test that had it open."""
    opened = browser.new_page(viewport={"width": request.param, "height": 900})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda sent: said.append(sent.url) if sent.url.startswith(("http", "ws")) else None)
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert said == []


def shown_users(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        ".user", "users => users.filter(user => user.checkVisibility()).map(user => user.dataset.kinds)"
    )


def overflow(page: Any) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_nothing_is_wider_than_the_window(page: Any):
    assert overflow(page) == 0
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    assert overflow(page) == 0


def test_a_click_on_a_prefix_shows_what_begins_with_it_down_to_an_item(page: Any):
    first = page.locator("#tree > details").first
    first.locator("> summary").click()
    second = first.locator("> details").first
    second.locator("> summary").click()
    third = second.locator("> details").first
    third.locator("> summary").click()
    assert third.locator("li .id").first.is_visible()
    first.locator("> summary").click()
    assert not second.is_visible()


def test_a_search_finds_items_by_title_and_opens_their_place_in_the_tree(page: Any):
    page.fill("#tree-search", "BLUE cha")
    assert page.inner_text("#tree-count") == "1 found"
    tokens = page.inner_text("#tree-found li button")
    page.click("#tree-found li button")
    opened = page.locator("#tree details[open] > summary > code").all_inner_texts()
    assert "".join(opened) == tokens
    assert page.locator("#tree li").first.is_visible()
    page.fill("#tree-search", "")
    assert page.locator("#tree-found li").count() == 0


def test_filters_show_the_users_they_name(page: Any):
    everyone = shown_users(page)
    assert len(everyone) == 30
    for kind in ("hit", "miss", "cold", "tail"):
        page.click(f"[data-filter={kind}]")
        assert shown_users(page) == [kinds for kinds in everyone if kind in kinds.split()]
        assert page.get_attribute(f"[data-filter={kind}]", "aria-pressed") == "true"
    page.click("[data-filter=all]")
    assert shown_users(page) == everyone


def test_figures_are_drawn_in_the_colours_of_the_scheme(browser: Any, report: Path):
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        colours[scheme] = page.eval_on_selector(
            "#catalogue svg text",
            "text => [getComputedStyle(text).fill, getComputedStyle(document.body).color]",
        )
        page.close()
    assert colours["light"][0] == colours["light"][1]  # figures are written in the ink of the page
    assert colours["dark"][0] == colours["dark"][1]
    assert colours["light"] != colours["dark"]


def test_printed_it_shows_every_user_open(browser: Any, report: Path):
    page = browser.new_page()
    page.goto(report.as_uri())
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.eval_on_selector_all(".user", "users => users.every(user => user.open)")
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 10_000
    page.close()
