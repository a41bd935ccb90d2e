"""The page of the design system: its colours, and its ten components."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_gateway.console.forms.fields import Field
from llm_gateway.console.forms.form import FilledForm
from llm_gateway.console.rendering import page

_FIELDS = (
    Field(name="name", label="Name", hint="What it is for.", required=True),
    Field(name="weight", label="Weight", kind="number"),
    Field(name="kind", label="Kind", kind="choice", options=(("openai", "OpenAI"), ("gemini", "Gemini"))),
    Field(name="models", label="Models", kind="lines", hint="One a line."),
    Field(name="is_enabled", label="Enabled", kind="flag"),
)


async def show_design(request: Request) -> Response:
    """Show every component once."""
    form = FilledForm.of(
        _FIELDS, {"name": "main", "weight": "many", "models": ["gpt-4o"], "is_enabled": True}
    )
    form.add("weight", "must be a number")
    return page(request, "design.html", form=form)


ROUTES = [Route("/console/design", show_design, methods=["GET"])]
