"""The built documentation, as a reader meets it: links, anchors, pictures, reference, and two screens in Chromium.

    mkdocs build --strict -f docs/site/mkdocs.yml -d /tmp/site && COSPEECH_SITE=/tmp/site pytest tests/test_site.py

Skipped where ``COSPEECH_SITE`` names no built site; ``.ci/run`` builds one. ``COSPEECH_SCREENSHOTS=folder`` keeps what
was seen.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

SITE = Path(os.environ.get("COSPEECH_SITE", ""))
SCREENS = {"wide": (1400, 900), "phone": (390, 844)}

pytestmark = [
    pytest.mark.skipif(not os.environ.get("COSPEECH_SITE"), reason="COSPEECH_SITE names no built site"),
    # Selenium leaves sockets to its driver to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Links(HTMLParser):
    """What a page points to, what it loads, and the places in it that can be pointed to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.targets.append(values["href"])
        elif tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Links]:
    found = {}
    for path in sorted(SITE.resolve().rglob("*.html")):
        found[path] = Links()
        found[path].feed(path.read_text())
    assert len(found) > 20
    return found


def test_links_lead_to_a_page_and_a_place_in_it(pages: dict[Path, Links]) -> None:
    broken = []
    for path, links in pages.items():
        for target in links.targets:
            address, anchor = urldefrag(target)
            if urlsplit(address).scheme or path.name == "404.html":  # its links begin at the root of a server
                continue
            leads_to = (path.parent / unquote(address)).resolve() if address else path
            if leads_to.is_dir():
                leads_to /= "index.html"
            if not leads_to.is_file() or (leads_to in pages and unquote(anchor) not in pages[leads_to].anchors):
                broken.append(f"{path.relative_to(SITE.resolve())} -> {target}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Links]) -> None:
    for path, links in pages.items():
        for target in links.loaded:
            assert not urlsplit(target).netloc, f"{path.name} loads {target}"


def test_reference_holds_every_public_name(pages: dict[Path, Links]) -> None:
    names = Path(__file__).with_name("public_names.txt").read_text().split()
    reference = {path.stem: links.anchors for path, links in pages.items() if path.parent.name == "reference"}
    assert [name for name in names if name not in reference[name.rpartition(".")[0]]] == []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_search_finds_a_public_name(browser: Any, address: str) -> None:
    browser.get(address + "index.html?q=geodesic_distance")
    end = time.monotonic() + 30
    while not (found := browser.execute_script("return document.querySelector('.md-search-result__link')?.href")):
        assert time.monotonic() < end, "the search found nothing"
        time.sleep(0.1)
    assert "cospeech.rotations" in found


# What sticks out of the page, what of it is cut off unreadably, and pictures that did not come.
LOOK = """
const wide = document.scrollingElement.scrollWidth - innerWidth;
const scrolls = e => { for (; e && e !== document.body; e = e.parentElement)
  if (["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return true; return false; };
const out = [...document.querySelectorAll("article *")].filter(e =>
  e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e));
const lost = [...document.images].filter(i => { i.loading = "eager"; return !(i.complete && i.naturalWidth > 0); });
return {wide, out: out.slice(0, 3).map(e => e.outerHTML.slice(0, 200)), lost: lost.map(i => i.src)};
"""


def test_pages_fit_a_wide_screen_and_a_phone(browser: Any, address: str, pages: dict[Path, Links]) -> None:
    shots, faults = os.environ.get("COSPEECH_SCREENSHOTS"), []
    for path in pages:
        page = path.relative_to(SITE.resolve()).as_posix()
        for screen, (width, height) in SCREENS.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            if screen == "wide":  # the phone's look is taken of the same page, laid out anew
                browser.get(address + page)
            seen = browser.execute_script(LOOK)
            if seen["wide"] > 0 or seen["out"] or seen["lost"]:
                faults.append(f"{page} on a {screen} screen: {seen}")
            if shots:
                browser.save_screenshot(str(Path(shots) / f"{page.replace('/', '_')}.{screen}.png"))
        faults += [f"{page}: {entry['message']}" for entry in browser.get_log("browser")]
    assert not faults, "\n".join(faults)
