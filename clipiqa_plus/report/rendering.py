"""Templates -> pages: one HTML file each, with style and scripts inside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from clipiqa_plus.report.charts import PALETTE, number
from clipiqa_plus.report.glossary import TERMS


def render(template: str, **context: Any) -> str:
    """Return a page.

    Args:
        template: File name in ``templates/``.
        context: Its variables; text is escaped.
    """
    return _environment().get_template(template).render(context)


def compact(content: Any) -> Markup:
    """JSON for a script element, escaped so that no content can close the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&'":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def setting(value: Any) -> str:
    """A setting as text: a pair or scale with slashes between its prompts, None as a dash."""
    if isinstance(value, list | tuple):
        parts = (" / ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in value)
        return ", ".join(parts)
    return "-" if value is None else str(value)


@cache
def library() -> Markup:
    """Vega, the Vega-Lite that Altair writes for, and Vega-Embed in one script."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    # In a function: its short names must not meet those of the page's own scripts.
    return Markup("(() => {" + code.replace("</script", r"<\/script") + "})();")


@cache
def _environment() -> Environment:
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(number=number, setting=setting)
    made.globals.update(terms=TERMS, palette=PALETTE)
    return made
