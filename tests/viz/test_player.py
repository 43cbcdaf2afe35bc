"""The page in headless Chromium: what a person would see and do."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from cospeech.motion import Motion
from cospeech.skeleton import SMPLX
from cospeech.viz import save_html

pytestmark = [
    pytest.mark.browser,
    # Selenium leaves sockets to its driver to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS = 12.0


def beckoning(num_frames: int = 360) -> Motion:
    """Arms at the sides, forearms swinging, mouth opening and closing."""
    seconds = torch.arange(num_frames) / 30
    axis_angle = torch.zeros(num_frames, 55, 3)
    for side, sign in (("left", 1), ("right", -1)):
        axis_angle[:, SMPLX.index(f"{side}_shoulder"), 2] = -sign * 1.1
        axis_angle[:, SMPLX.index(f"{side}_elbow"), 1] = -sign * (0.9 + 0.7 * torch.sin(2 * seconds))
    axis_angle[:, SMPLX.index("jaw"), 0] = 0.1 + 0.1 * torch.sin(20 * seconds)
    return Motion(local_axis_angle=axis_angle, translation=torch.zeros(num_frames, 3), rate_hz=30)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    tone = 0.3 * torch.sin(440 * 2 * math.pi * torch.arange(int(16000 * SECONDS)) / 16000)
    motion = beckoning()
    save_html(motion, folder / "sound.html", audio=tone, audio_rate_hz=16000, title="A long title, " * 12)
    save_html(motion, folder / "mute.html")
    save_html(motion[:30], folder / "short.html", audio=tone[:8000], audio_rate_hz=16000)
    save_html({"one": motion, "another one": motion, "three": motion[30:]}, folder / "three.html")
    return {path.stem: path.as_uri() for path in folder.iterdir()}


def resize(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture
def visit(browser: Any, pages: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Open a page; afterwards, its console must be empty."""

    def go(name: str, width: int = 1280, height: int = 800) -> Any:
        resize(browser, width, height)
        browser.get(pages[name])
        wait(browser, "return Boolean(window.cospeech)")
        return browser

    yield go
    assert browser.get_log("browser") == []


def wait(browser: Any, script: str, seconds: float = 15) -> Any:
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(script)):
        assert time.monotonic() < end, f"never came true: {script}"
        time.sleep(0.03)
    return value


COLOURS = """
cospeech.draw();
const view = document.getElementById("view"), copy = new OffscreenCanvas(view.width, view.height).getContext("2d");
copy.drawImage(view, 0, 0);
const data = copy.getImageData(0, 0, view.width, view.height).data;
let blue = 0, orange = 0, other = new Set();
for (let i = 0; i < data.length; i += 4) {
  if (data[i + 2] > data[i] + 60) blue++;
  if (data[i] > data[i + 2] + 60) orange++;
  other.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
}
return [blue / data.length * 4, orange / data.length * 4, other.size];
"""
PIXELS = """
cospeech.draw();
const copy = new OffscreenCanvas(80, 50).getContext("2d");
copy.drawImage(document.getElementById("view"), 0, 0, 80, 50);
return Array.from(copy.getImageData(0, 0, 80, 50).data);
"""


def look(browser: Any) -> torch.Tensor:
    """What the canvas shows, small."""
    return torch.tensor(browser.execute_script(PIXELS), dtype=torch.float32)


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() > 8)  # of 255: the browser's own rounding varies with its mood


@pytest.mark.parametrize("page", ["sound", "mute", "three"])
@pytest.mark.parametrize("size", [(1280, 800), (375, 812), (320, 568), (812, 375)])
def test_the_figure_is_seen_and_nothing_overflows(visit: Callable[..., Any], page: str, size: tuple[int, int]) -> None:
    browser = visit(page, *size)
    blue, orange, colours = browser.execute_script(COLOURS)
    assert blue > 0.003
    assert orange > 0.003
    assert colours > 100
    root = browser.execute_script(
        "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight, innerWidth, innerHeight]"
    )
    assert root == [size[0], size[1], size[0], size[1]]
    outside = browser.execute_script(
        "return [...document.querySelectorAll('button:not([hidden]), select, input, h1, .legend')].filter((e) => {"
        "const r = e.getBoundingClientRect();"
        "return r.left < 0 || r.right > innerWidth + 0.5 || r.top < 0 || r.bottom > innerHeight + 0.5;"
        "}).map((e) => e.id || e.textContent)"
    )
    assert outside == []
    small = browser.execute_script(
        "return [...document.querySelectorAll('footer button:not([hidden]), footer select')].filter((e) => {"
        "const r = e.getBoundingClientRect(); return r.width < 44 || r.height < 44; }).map((e) => e.id)"
    )
    assert small == []


def test_the_pose_changes_with_time(visit: Callable[..., Any]) -> None:
    browser = visit("sound")
    images, poses = [], []
    for second in (1, 2):
        browser.execute_script(f"cospeech.seek({second})")
        images.append(look(browser))
        poses.append(torch.tensor(browser.execute_script("return cospeech.pose()")).reshape(-1, 3))
    assert differ(*images)
    for second, pose in zip((1, 2), poses, strict=True):
        torch.testing.assert_close(pose[:55], beckoning().joints()[30 * second], atol=2e-4, rtol=0)
    # Between two frames, half-way; after the last, the last.
    browser.execute_script("cospeech.seek(1.5 / 30)")
    pose = torch.tensor(browser.execute_script("return cospeech.pose()")).reshape(-1, 3)[:55]
    torch.testing.assert_close(pose, beckoning().joints()[1:3].mean(0), atol=2e-4, rtol=0)


def test_the_audio_leads(visit: Callable[..., Any]) -> None:
    browser = visit("sound")
    wait(browser, "return audio.readyState >= 3")
    assert browser.execute_script("return audio.duration") == pytest.approx(SECONDS, abs=1e-3)
    assert browser.execute_script("return [audio.paused, cospeech.playing, cospeech.time]") == [True, False, 0]
    browser.find_element("id", "play").click()
    wait(browser, "return audio.currentTime > 0.4 && cospeech.playing")
    browser.execute_script("cospeech.seek(2)")
    wait(browser, "return !audio.seeking && audio.currentTime > 2.2")
    ahead = browser.execute_script(
        "return new Promise((done) => requestAnimationFrame(() => done(cospeech.time - audio.currentTime)))"
    )
    assert abs(ahead) < 0.15
    browser.find_element("id", "play").click()
    assert browser.execute_script("return [audio.paused, cospeech.playing]") == [True, False]
    stopped = browser.execute_script("return cospeech.time")
    time.sleep(0.2)
    assert browser.execute_script("return cospeech.time") == stopped


def test_it_stops_at_the_end_and_starts_over(visit: Callable[..., Any]) -> None:
    # Half a second of audio, one of motion: a timer takes over where the audio ends.
    browser = visit("short")
    wait(browser, "return audio.readyState >= 3")
    assert browser.execute_script("return cospeech.duration") == pytest.approx(1)
    browser.execute_script("cospeech.play()")
    wait(browser, "return !cospeech.playing")
    assert browser.execute_script("return [cospeech.time, cospeech.frame]") == [1, 29]
    browser.execute_script("cospeech.play()")
    assert browser.execute_script("return cospeech.playing && cospeech.time < 0.5")
    wait(browser, "return !cospeech.playing")


def test_without_audio_a_timer_leads(visit: Callable[..., Any]) -> None:
    browser = visit("mute")
    assert not browser.find_element("id", "mute").is_displayed()
    browser.execute_script("cospeech.play()")
    wait(browser, "return cospeech.time > 0.3")
    assert browser.execute_script("return cospeech.playing")


def test_scrubbing(visit: Callable[..., Any]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = visit("sound")
    wait(browser, "return audio.readyState >= 3")
    ActionChains(browser).move_to_element(browser.find_element("id", "scrub")).click().perform()  # its middle
    assert browser.execute_script("return cospeech.time") == pytest.approx(SECONDS / 2, abs=0.05)
    wait(browser, f"return Math.abs(audio.currentTime - {SECONDS / 2}) < 0.05")
    wait(browser, "return /^0:0(6.0|5.9) /.test(document.getElementById('time').textContent)")
    assert "frame" in browser.find_element("id", "frame").text


def test_keys(visit: Callable[..., Any]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = visit("mute")

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert browser.execute_script("return cospeech.frame") == 2
    press(Keys.END)
    assert browser.execute_script("return cospeech.frame") == 359
    press(Keys.ARROW_RIGHT)
    assert browser.execute_script("return cospeech.frame") == 359
    press(Keys.HOME, " ")
    wait(browser, "return cospeech.playing && cospeech.time > 0.1")
    press(" ")
    assert not browser.execute_script("return cospeech.playing")
    before = look(browser)
    press("2")
    assert differ(look(browser), before)
    assert browser.execute_script("return document.querySelector('#presets [aria-pressed=true]').textContent") == (
        "Upper body"
    )


def test_dragging_orbits_and_the_wheel_zooms(visit: Callable[..., Any]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    browser = visit("mute")
    view = browser.find_element("id", "view")
    images = [look(browser)]
    ActionChains(browser).move_to_element(view).click_and_hold().move_by_offset(120, 30).release().perform()
    images.append(look(browser))
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(view), 0, -300).perform()
    images.append(look(browser))
    ActionChains(browser).double_click(view).perform()
    assert differ(images[0], images[1])
    assert differ(images[1], images[2])
    assert not differ(look(browser), images[0])


def test_two_fingers_pinch(visit: Callable[..., Any]) -> None:
    browser = visit("mute", 375, 812)
    before = browser.execute_script(COLOURS)[0]

    def touch(kind: str, *points: tuple[int, int]) -> None:
        where = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    touch("touchStart", (170, 300), (200, 300))
    for spread in range(10, 60, 10):
        touch("touchMove", (170 - spread, 300), (200 + spread, 300))
    touch("touchEnd")
    assert browser.execute_script(COLOURS)[0] > 1.3 * before


def test_speed_changes_the_audio_too(visit: Callable[..., Any]) -> None:
    from selenium.webdriver.support.select import Select

    browser = visit("sound")
    Select(browser.find_element("id", "speed")).select_by_value("0.5")
    assert browser.execute_script("return audio.playbackRate") == 0.5
    wait(browser, "return audio.readyState >= 3")
    browser.execute_script("cospeech.play()")
    wait(browser, "return audio.currentTime > 0.3")
    assert browser.execute_script("return Math.abs(cospeech.time - audio.currentTime)") < 0.15


def test_dark_and_light_differ_and_controls_have_names(visit: Callable[..., Any]) -> None:
    browser = visit("sound")
    images = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        wait(browser, f"return matchMedia('(prefers-color-scheme: {scheme})').matches")
        # Told to the page with its next frame.
        browser.execute_script("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        images.append(look(browser))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert differ(*images)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, select, input, canvas')]"
        ".filter((e) => !e.ariaLabel && !e.textContent.trim() && !e.ariaHidden).length"
    )
    assert nameless == 0
