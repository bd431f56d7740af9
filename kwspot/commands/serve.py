"""`kwspot serve`."""

from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import RUNS, Host, LiveStreaming, ModelName, RefractoryMs, RunsDir, SmoothingMs, Threshold
from kwspot.errors import ConfigError


def serve(
    wyoming: Annotated[bool, typer.Option("--wyoming", help="As a wake word service for Home Assistant.")] = False,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 10400,
    model: ModelName = None,
    threshold: Threshold = None,
    smoothing_ms: SmoothingMs = None,
    refractory_ms: RefractoryMs = None,
    stream: LiveStreaming = None,
    runs: RunsDir = RUNS,
) -> None:
    """Serve a model to other programs: keywords over the Wyoming protocol.

    Home Assistant finds it under Settings, Devices, Add integration, Wyoming
    Protocol: enter this machine's address and the port. Every keyword of the
    model is a wake word. Stop with Ctrl-C.

    Examples:

      kwspot serve --wyoming --host 0.0.0.0

      kwspot serve --wyoming --model house --threshold 0.9
    """
    if not wyoming:
        raise ConfigError("serve needs a protocol: --wyoming")
    from kwspot.inference.detector import keywords_of
    from kwspot.inference.pipeline import detection_settings
    from kwspot.inference.streaming import open_model
    from kwspot.web.wyoming import serve as serve_wyoming

    opened = open_model(model, runs, streaming=stream)
    settings = detection_settings(
        opened.metadata, threshold=threshold, smoothing_ms=smoothing_ms, refractory_ms=refractory_ms
    )
    words = " ".join(keywords_of(opened.labels))
    serve_wyoming(
        lambda: open_model(model, runs, streaming=stream, threads=1), settings, host, port,
        lambda: console.note(f"kwspot serve: tcp://{host}:{port} with {opened.name}: {words}"),
        console.error,
    )  # fmt: skip
