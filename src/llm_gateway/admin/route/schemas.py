"""The request body of `/admin/v1/route/explain`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.flow.explain.answer import Question
from llm_gateway.flow.paging import ID_LIMIT
from llm_gateway.resources.shapes import Body, ModelName, Name

Text = Annotated[str, Field(max_length=4096)]


class RouteQuestion(Body):
    """The parts of a request that its route depends on. Either `model` or `task_type` is required."""

    model: ModelName | None = None
    task_type: Name | None = None
    credential: int | Name | None = Field(
        default=None, description="An id or a name. If omitted, a credential that may use every model."
    )
    endpoint: EndpointName = "chat/completions"
    user: Text | None = None
    prompt_cache_key: Text | None = None
    headers: dict[str, Text] = Field(default={}, max_length=100)

    config_version: int | None = Field(
        default=None,
        ge=1,
        le=ID_LIMIT,
        description="The version to explain by, if it can be rebuilt. If omitted, the configuration in force.",
    )

    def question(self) -> Question:
        """Return the question that this body asks."""
        names = type(self).model_fields.keys() - {"config_version"}
        return Question(**{name: getattr(self, name) for name in names})
