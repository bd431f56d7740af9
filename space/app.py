"""The page of kwspot as a Hugging Face Space."""

import os

from kwspot.webui import default_page, serve

host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")
serve(default_page(), host, int(os.environ.get("GRADIO_SERVER_PORT", "7860")), opened=False, started=print)
