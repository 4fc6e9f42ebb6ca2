"""HTML pages and a model card, made by Jinja2 from the templates beside this file: every text is escaped."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.errors import visible
from ..files.picture_files import open_picture
from ..files.whole_files import write_whole
from .charts import CORRECTED, PLAIN

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def write_page(path: str | Path, template: str, **values: Any) -> None:
    """Write the page of a template; the file is replaced atomically. Raises OSError."""
    write_whole(path, _environment().get_template(template).render(values))


def data_uri(data: bytes) -> str:
    """PNG or JPEG bytes -> a data: URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def interval(row: Mapping[str, Any] | None) -> str:
    """A row {"value", "low", "high"} as text, such as "0.900 [0.769, 0.960]"; "" if it is None or has no value."""
    if row is None or row["value"] is None:
        return ""
    return f"{row['value']:.3f}" + ("" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]")


def markdown(text: object) -> Markup:
    """A text for within a line of Markdown: nothing in it is formatted, or is HTML."""
    from markupsafe import Markup

    line = html.escape(" ".join(visible(str(text)).split()), quote=False)
    return Markup(re.sub(r"([\\`*_\[\]|~])", r"\\\1", line))  # noqa: S704 - it is escaped


def _size(data: bytes) -> tuple[int, int]:
    return open_picture(io.BytesIO(data)).size


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    environment.globals |= {"PLAIN": PLAIN, "CORRECTED": CORRECTED}
    environment.filters |= {"data_uri": data_uri, "interval": interval, "markdown": markdown, "size": _size}
    return environment
