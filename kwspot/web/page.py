"""The page of `kwspot ui`: spot live, predict, enroll own words, compare runs. Starlette serves static/ and answers.

    static/page.js   <->  api/…   answers.py     a sound as the body -> JSON
    static/live.js   <->  live/…  live.py        the microphone, block by block

Everything a browser loads comes from the page's own server, which serving.py makes sure of.
"""

from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kwspot.errors import KwspotError
from kwspot.files import parse_json
from kwspot.inference.model_zoo import DEFAULT_LONG, find_model
from kwspot.web.answers import Answers
from kwspot.web.live import Live
from kwspot.web.serving import OwnPageOnly, Workers, answered, body_of, is_open

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 20 * 2**20  # of an upload
LONGEST_TITLE = 100


def build_page(
    runs_dir: Path, data: Path, model: str | None = None, host: str = "127.0.0.1", names: Iterable[str] = ()
) -> Starlette:
    """Build the page, to be reached as `host` and by `names`. `model` is chosen at first; MissingError for none."""
    chosen = find_model(model, runs_dir, DEFAULT_LONG).name  # the one that can listen live
    api = Api(Answers(runs_dir, data, chosen, enrolling=not is_open(host)))
    routes = [
        Route("/", lambda _: FileResponse(STATIC / "page.html")),
        Mount("/static", StaticFiles(directory=STATIC)),
        *api.routes(),
        *Live(api.answers.open_model).routes(),
    ]
    return Starlette(routes=routes, middleware=[Middleware(OwnPageOnly, host=host, names=names)])


class Api:
    """The routes below api/, each of which asks `answers` in a thread."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.workers = answers, Workers()

    def routes(self) -> list[Route]:
        """Return the routes."""
        asked = {"models": self.models, "expected": self.expected, "compare": self.compare}
        sent = {"predict": self.predict, "random": self.random, "take": self.take, "enroll": self.enroll}
        return [
            *(Route(f"/api/{name}", answered(answer), methods=["GET"]) for name, answer in asked.items()),
            *(Route(f"/api/{name}", answered(answer), methods=["POST"]) for name, answer in sent.items()),
            Route("/api/models/{name}.onnx", self.file, methods=["GET"]),
        ]

    async def models(self, _: Request) -> dict[str, Any]:
        """List the models."""
        return await self.workers.run(self.answers.models)

    async def expected(self, request: Request) -> dict[str, Any]:
        """Say what a threshold costs: ?model=&threshold=."""
        query = request.query_params
        return await self.workers.run(self.answers.expected, query["model"], float(query["threshold"]))

    async def compare(self, request: Request) -> dict[str, Any]:
        """Compare the finished runs: ?named=, parts of names."""
        return await self.workers.run(self.answers.comparison, request.query_params.get("named", "")[:LONGEST_TITLE])

    async def predict(self, request: Request) -> dict[str, Any]:
        """Predict the sound in the body: ?model=&name=."""
        query, content = request.query_params, await body_of(request, MOST_BYTES)
        return await self.workers.run(self.answers.predict, content, query["model"], query["name"][:LONGEST_TITLE])

    async def random(self, request: Request) -> dict[str, Any]:
        """Predict a random test clip: ?model=."""
        return await self.workers.run(self.answers.random_clip, request.query_params["model"])

    async def take(self, request: Request) -> dict[str, Any]:
        """Look at a take: {sound} in base64."""
        sent = parse_json(await body_of(request, MOST_BYTES))
        return await self.workers.run(self.answers.take, b64decode(sent["sound"], validate=True))

    async def enroll(self, request: Request) -> dict[str, Any]:
        """Enroll words: {name, words: {word: [sounds in base64]}, again}; `again` replaces the model of the name."""
        sent = parse_json(await body_of(request, MOST_BYTES))
        words, again = dict(sent["words"]), bool(sent.get("again", False))
        return await self.workers.run(self.answers.enroll, str(sent["name"]), words, again)

    async def file(self, request: Request) -> Response:
        """Send the file of an enrolled model."""
        name = request.path_params["name"]
        try:
            return FileResponse(self.answers.file_of(name), filename=f"{name}.onnx")
        except KwspotError as error:
            return JSONResponse({"error": str(error)}, 404)
