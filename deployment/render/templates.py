"""Fill in the templates of the roles. They hold text; what is filled in was decided before."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deployment.specs import PROJECT


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(PROJECT / "roles"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        # The output is configuration and Python source, never HTML.
        autoescape=False,
    )


def render(role: str, template: str, **values: Any) -> str:
    """The text of ``roles/<role>/templates/<template>``. Raises UndefinedError for a value that is missing."""
    return _environment().get_template(f"{role}/templates/{template}").render(**values)
