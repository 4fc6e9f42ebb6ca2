"""What a host holds, asked of its own process by a small node or extension that the soaks install beside ours.

It collects garbage and makes glibc return freed memory first, or its caches would hide what is held: training frees
hundreds of thousands of small blocks. Linux only.
"""

import json
import urllib.request
from pathlib import Path

# In one arena glibc can say what is allocated; large blocks have memory of their own. oneDNN keeps what it compiles for
# each new shape, up to 1024 of them.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
}  # fmt: skip
MEMORY = Path(__file__).with_name("allocated.py").read_text(encoding="utf-8")
NODE = f"""{MEMORY}
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {{}}

@PromptServer.instance.routes.post("/soak/memory")
async def answer(_):
    return web.json_response(allocated())
"""
EXTENSION = f"""{MEMORY}
from modules import script_callbacks

script_callbacks.on_app_started(lambda _, app: app.add_api_route("/soak/memory", allocated, methods=["POST"]))
"""


def held(server):
    """What the process of a server holds."""
    with urllib.request.urlopen(urllib.request.Request(f"{server.address}/soak/memory", b"{}"), timeout=60) as answer:
        allocated = json.load(answer)
    process = Path("/proc", str(server.process.pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {
        **allocated,
        "memory": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "files": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "log": len(server.log),
    }
