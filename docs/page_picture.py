"""Take the picture of README: the page of `kwspot ui` while a synthesiser speaks into the browser's microphone."""

from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from kwspot.files import written_whole
from tests.browsers import chromium, served
from tests.sounds import write_sound
from tests.speech import spoken

PICTURE = Path(__file__).parent / "plots" / "page.png"
SIZE = {"width": 1000, "height": 664}  # px
N_WORDS = 12  # one every two seconds; the plot shows ten
SPOKEN_S = 17  # when the picture is taken


def take(path: Path = PICTURE) -> None:
    """Write the picture as PNG; needs a synthesiser, playwright and chromium."""
    with TemporaryDirectory() as folder:
        sound, _ = spoken(N_WORDS, gap_s=1.0)
        microphone = write_sound(Path(folder) / "words.wav", sound)
        with (
            served(folder) as address,
            sync_playwright() as playwright,
            chromium(playwright, microphone) as browser,
            written_whole(path) as partial,
        ):
            page = browser.new_page(viewport=SIZE, permissions=["microphone"])
            page.goto(address)
            page.locator("#start:enabled").click()
            page.wait_for_timeout(1000 * SPOKEN_S)
            page.screenshot(path=partial, type="png")


if __name__ == "__main__":
    take()
