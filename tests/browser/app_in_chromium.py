"""Use the web page in a headless Chromium as people do, check what they get, and save pictures of it.

python -m tests.browser.app_in_chromium --resume CKPT --output DIR

Needs `pip install playwright` and a Chromium (--chromium, Debian's by default).
"""

import argparse
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.scripts.test_app import HOSTILE, LIMITS, Server, make_media

VIEWS = {"desktop": ((1280, 800), "light"), "phone": ((390, 844), "dark")}
WAIT = 180_000  # ms


class Watch:
    """A context of its own, as another user has it, whose errors and requests to other hosts are kept."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page: Page = context.new_page()
        host = urlsplit(address).netloc
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, host))
        self.page.goto(address)

    def _note(self, url: str, host: str) -> None:
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != host:
            self.strangers.append(url)

    def send(self, file: Path) -> None:
        """Choose a file and press the button."""
        self.page.get_by_label("Photograph or video").set_input_files(str(file))
        self.page.get_by_role("button", name="Analyse").click()

    def verdict(self) -> str:
        """Wait for the answer; its text."""
        self.page.locator("#result .verdict, .result.problem .verdict").wait_for(timeout=WAIT)
        return self.page.locator(".result").inner_text()

    def check(self) -> None:
        """No console error, no request to another host, nothing wider than the screen."""
        assert not self.strangers, self.strangers
        assert not self.errors, self.errors
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} px to scroll sideways"


def use(browser: Browser, address: str, media: dict[str, Path], view: str, output: Path) -> None:
    """Everything at one size and colour scheme."""
    (width, height), scheme = VIEWS[view]

    def user() -> Watch:
        return Watch(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme), address)

    def picture(watch: Watch, name: str) -> None:
        watch.page.wait_for_timeout(1500)
        watch.page.screenshot(path=output / f"{view}_{name}.png", full_page=True)
        watch.check()

    picture(user(), "empty")
    watch = user()
    watch.page.get_by_role("button", name="Analyse").click()
    assert "Choose a photograph or a video first." in watch.verdict()
    first, second = user(), user()
    first.send(media["clip.mp4"])
    second.send(media["one.png"])
    video, image = first.verdict(), second.verdict()
    assert "clip.mp4" in video and "P(fake) over time" in video, video
    assert "one.png" in image and "P(fake)" in image and "over time" not in image, image
    look_at_first_screen(second, height)
    use_tree(second)
    picture(first, "video")
    picture(second, "image")

    watch = user()
    watch.send(media["two.png"])
    watch.verdict()
    use_tabs(watch)
    picture(watch, "two_people")

    watch = user()
    watch.send(media[HOSTILE])
    assert "Cannot be read" in watch.verdict() and HOSTILE in watch.verdict()
    picture(watch, "no_image")

    watch = user()
    watch.send(media["large.png"])
    assert "The file is larger than 1 MB; cut it" in watch.verdict()
    picture(watch, "too_large")

    watch = user()
    watch.send(media["long.mp4"])
    assert "The video has 3 s, the page takes 2 s" in watch.verdict()
    watch.errors.clear()  # Chromium notes the status of the refusal, 413
    picture(watch, "too_long")
    use_keyboard(user())


def look_at_first_screen(watch: Watch, height: int) -> None:
    """On a desktop the whole result of one person is on the screen, without scrolling. On a phone it is in order."""
    ends = [watch.page.locator(name).bounding_box() for name in (".verdict", ".seen img", ".tree", ".maps")]
    tops, bottoms = [box["y"] for box in ends], [box["y"] + box["height"] for box in ends]
    if height == 800:
        assert min(tops) >= 0 and max(bottoms) <= height, (tops, bottoms)
        assert watch.page.evaluate("scrollY") == 0
    else:
        assert tops == sorted(tops) and tops[0] >= 0 and bottoms[1] <= height, (tops, bottoms)


def use_tree(watch: Watch) -> None:
    """Point at nodes, go to them with the keyboard, tap them: their heat map is shown."""
    nodes, maps = watch.page.locator(".tree a"), watch.page.locator(".maps figure:visible img")
    names = ("fake", "lip", "nose", "skin", "expression")
    steps = (
        lambda: None,
        nodes.nth(6).hover,
        nodes.nth(8).focus,
        lambda: watch.page.keyboard.press("Tab"),
        nodes.nth(1).click,
    )
    for name, step in zip(names, steps, strict=True):
        step()
        assert maps.count() == 1 and maps.get_attribute("alt") == f"heat map of {name}", name
        assert watch.page.locator(".tree a[aria-current]").get_attribute("aria-label").startswith(name)


def use_tabs(watch: Watch) -> None:
    """Go through the people with the keyboard."""
    tabs, people = watch.page.get_by_role("tab"), watch.page.get_by_role("tabpanel")
    assert (tabs.count(), people.count()) == (2, 1)
    tabs.nth(0).click()
    for key, number in (("ArrowRight", 2), ("ArrowRight", 1), ("ArrowLeft", 2), ("Home", 1), ("End", 2)):
        watch.page.keyboard.press(key)
        assert watch.page.evaluate("document.activeElement.id") == f"tab-{number}"
        assert people.count() == 1 and people.get_attribute("id") == f"person-{number}"
        assert [tabs.nth(i).get_attribute("aria-selected") for i in (0, 1)] == [
            str(number == n).lower() for n in (1, 2)
        ]


def use_keyboard(watch: Watch) -> None:
    """Choose a sample and get its verdict without a mouse."""
    for label in ("Photograph or video", "or a sample"):
        watch.page.keyboard.press("Tab")
        focused = watch.page.evaluate("document.activeElement.labels[0].textContent")
        assert focused == label, focused
    watch.page.keyboard.press("ArrowDown")
    watch.page.keyboard.press("Tab")
    watch.page.keyboard.press("Enter")
    assert "one.png" in watch.verdict()
    assert watch.page.evaluate("document.activeElement.id") == "result", "a screen reader goes on there"
    watch.check()


def without_script(browser: Browser, address: str, media: dict[str, Path], output: Path) -> None:
    """The form in a browser that runs no scripts."""
    watch = Watch(browser.new_context(java_script_enabled=False), address)
    watch.send(media["clip.mp4"])
    assert "clip.mp4" in watch.verdict()
    assert watch.page.locator(".maps figure:visible").count() == 10, "all heat maps"
    watch.page.screenshot(path=output / "no_script.png", full_page=True)
    watch.page.goto(address)
    watch.send(media["large.png"])
    assert "The file is larger than 1 MB" in watch.verdict()
    assert not watch.strangers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "media").mkdir()
        media = make_media(Path(folder) / "media")
        photo = np.asarray(Image.open(media["one.png"]))[:300, 80:400]
        media["two.png"] = Path(folder) / "two.png"
        Image.fromarray(np.concatenate([photo, photo[:, ::-1]], axis=1)).save(media["two.png"])
        media[HOSTILE] = media["none.png"].rename(media["none.png"].with_name(HOSTILE))
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        server = Server(["--resume", args.resume, "--samples", media["one.png"], *LIMITS], Path(folder))
        try:
            for name in VIEWS:
                use(browser, f"http://127.0.0.1:{server.port}/", media, name, args.output)
                print(f"{name}: as it should be; pictures in {args.output}")
            without_script(browser, f"http://127.0.0.1:{server.port}/", media, args.output)
            print("without scripts: as it should be")
        finally:
            server.process.terminate()
            server.process.wait()
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
