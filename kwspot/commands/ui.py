"""`kwspot ui`."""

from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, Host, ModelName, RunsDir


def ui(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 7860,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="Another name this page has; repeat it.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    model: ModelName = None,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Open a page in the browser: spot live, predict, enroll own words, compare runs.

    The page is served on this machine only unless --host is given, and loads
    nothing from other servers. Live sound is not stored; own words are enrolled
    below --runs, and only on this machine. Where other machines may come,
    the page is reached by address or this machine's own name; --name is
    needed for any other, as behind a proxy. Browsers allow the
    microphone on localhost or https only. Stop with Ctrl-C.

    Examples:

      kwspot ui

      kwspot ui --model lstm --runs runs --data data

      kwspot ui --host 0.0.0.0 --port 8000 --no-open

      kwspot ui --host 0.0.0.0 --name words.example.org
    """
    from kwspot.web.page import build_page
    from kwspot.web.serving import serve

    page = build_page(runs, data, model, host, name or ())
    serve(page, host, port, opened=opened, started=lambda address: console.note(f"kwspot ui: {address}"))
