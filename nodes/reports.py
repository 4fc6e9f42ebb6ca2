"""Open our reports in the browser: a route that serves the pages that this process wrote, unchanged, by their hash."""

import hashlib
from collections import OrderedDict
from pathlib import Path

from aiohttp import web
from server import PromptServer

MOST_REPORTS = 256  # number of reports that can be opened
REPORT_HEADERS = {
    # In a sandbox without scripts, forms and same origin; only what is inside the page itself is shown.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REPORT_GONE = (
    "This report is not here any more: it was replaced, or ComfyUI was restarted. Run the node again to open it."
)

_written: OrderedDict[str, Path] = OrderedDict()  # {id of a report: its path}


def add_routes() -> None:
    """Serve reports. Called once, before the server starts."""
    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.routes.get("/rs_corrector/reports/{id}")(_of_id)


def publish(path: str | Path) -> str:
    """Make an HTML page that was just written available -> its id, a hash of its bytes."""
    name = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    _written[name] = Path(path)
    _written.move_to_end(name)
    while len(_written) > MOST_REPORTS:
        _written.popitem(last=False)
    return name


async def _of_id(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    path = _written.get(name)
    page = path.read_bytes() if path is not None and path.is_file() else None
    if page is None or hashlib.sha256(page).hexdigest() != name:
        return web.Response(status=404, text=REPORT_GONE, headers=REPORT_HEADERS)
    return web.Response(body=page, content_type="text/html", charset="utf-8", headers=REPORT_HEADERS)
