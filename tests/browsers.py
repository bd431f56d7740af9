"""The page as a user has it: `kwspot ui` in a process of its own, and chromium with a microphone that plays a file."""

from contextlib import contextmanager
from pathlib import Path
import shutil
import socket
import subprocess
import sys

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 120_000  # of a busy machine
NODE_MODULES = Path(__file__).parents[1] / "build" / "npm" / "node_modules"  # `make space` fetches them
AXE = NODE_MODULES / "axe-core" / "axe.min.js"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(folder, *arguments):
    """Start `kwspot ui` as a user would; yield the address it says."""
    with server(folder, *arguments) as (address, _):
        yield address


@contextmanager
def server(folder, *arguments):
    """Start `kwspot ui`; yield the address it says, and the number of its process."""
    command = [sys.executable, "-m", "kwspot", "ui", "--no-open", "--port", str(free_port()), *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        try:
            assert line.startswith("kwspot ui: http://127.0.0.1:"), line + process.stderr.read()
            yield line.split()[-1], process.pid
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 143


@contextmanager
def chromium(playwright, microphone):
    """Start a browser that hears the file over and over."""
    flags = ["use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"]
    flags += [f"use-file-for-fake-audio-capture={microphone}", "no-sandbox"]
    with playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in flags]) as browser:
        yield browser


def visit(browser, address, **look):
    """Open a page, at desktop size if not told: `requested` are the addresses it asks for, `failed` errors."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | look), permissions=["microphone"])
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.requested, page.failed = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.failed.append(str(error)))
    page.goto(address)
    return page
