"""The page of kwspot as a Hugging Face Space."""

import os
from pathlib import Path

from kwspot.web.page import build_page, serve

page = build_page(Path("runs"), Path("data"))
host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
serve(page, host, port, opened=False, started=print)
