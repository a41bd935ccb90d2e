"""The OpenAPI document describes the answer of `/admin/v1/route/explain`."""

from __future__ import annotations

from fastapi.openapi.utils import get_openapi

from llm_gateway.admin.route.routes import router


def test_the_answer_is_described_field_by_field() -> None:
    document = get_openapi(title="t", version="1", routes=router.routes)
    answer = document["paths"]["/route/explain"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/Explanation"}
    schemas = document["components"]["schemas"]
    assert {"order", "routes", "refused"} <= schemas["Explanation"]["properties"].keys()
    assert schemas["Explanation"]["properties"]["rate_limit"]["description"]
    assert schemas["ExplainedRoute"]["properties"]["role"]["enum"][0] == "asked"
    assert schemas["ExplainedCandidate"]["properties"]["trial_in"]["description"].startswith("Seconds")
    assert schemas["OmittedProvider"]["properties"]["reason"]["enum"]
