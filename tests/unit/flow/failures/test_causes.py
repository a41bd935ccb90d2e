"""What a provider's refusal is about: the request, the gateway's account, or what the provider does not have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.failures.causes import cause_of
from llm_gateway.providers.base import UpstreamErrorBody


def asked(
    endpoint: EndpointName = "chat/completions", stateful: str | None = None, **fields: Any
) -> ModelRequest:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return ModelRequest(
        endpoint=endpoint, model="m", stream=False, wants_usage=False, fields=raw, stateful_field=stateful
    )


def said(message: str | None = None, **fields: Any) -> UpstreamErrorBody:
    return UpstreamErrorBody(message=message, **fields)


@pytest.mark.parametrize("status", [404, 405, 410, 501])
@pytest.mark.parametrize(
    "message",
    [
        None,
        "Not Found",
        "404 page not found",
        "Invalid URL (POST /v1/responses)",
        "Method Not Allowed",
        "The model `m` does not exist",
        "Resource not found",
        "Function '0-1': Not found for account 'x'",
        "No endpoints found for a/b.",
        "This server does not support embeddings.",
    ],
)
def test_a_server_without_the_model_or_the_endpoint(status: int, message: str | None) -> None:
    assert cause_of(status, said(message), asked()) == "unserved"


@pytest.mark.parametrize(
    "message",
    [
        "No such File object: file-abc",
        "Response with id 'resp_0a1b2c3d' not found.",
        "Vector store with id [x] not found",
        "Conversation not found",
        "Could not download the image: 404",
        "Item with id 'rs_68a1b2c3d4' not found.",
        "Container expired",
        "Prompt with id 'pmpt_1' not found.",
        "No endpoints found that support tool use: a tool was sent",
        "Unknown parameter: suffix",
    ],
)
def test_a_message_that_names_another_thing_is_the_clients(message: str) -> None:
    assert cause_of(404, said(message), asked()) is None


def test_a_param_other_than_the_model_is_the_clients() -> None:
    assert cause_of(404, said("Not found", param="suffix"), asked()) is None
    assert cause_of(404, said("Not found", param="model"), asked()) == "unserved"


@pytest.mark.parametrize(
    "fields",
    [
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "rs_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    ],
)
def test_a_request_for_something_stored_may_be_what_was_not_found(fields: dict[str, Any]) -> None:
    request = asked(
        "responses", input="a", **{name: value for name, value in fields.items() if name != "input"}
    )
    request.fields.update(asked(**fields).fields)
    assert cause_of(404, said("Not found"), request) is None
    # The provider's own code is plain.
    assert cause_of(404, said("x", about="unserved"), request) == "unserved"


def test_text_about_files_is_no_reference_to_one() -> None:
    request = asked(messages=[{"role": "user", "content": 'Explain {"file_id": 1}'}])
    assert cause_of(404, said("Not found"), request) == "unserved"


def test_a_request_bound_to_stored_data_is_never_unserved() -> None:
    request = asked("responses", "previous_response_id", previous_response_id="resp_1")
    assert cause_of(404, said("x", about="unserved"), request) is None
    assert cause_of(404, said(), request) is None


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_the_kinds_code_counts_under_any_status(status: int) -> None:
    assert cause_of(status, said("x", about="unserved"), asked()) == "unserved"
    assert cause_of(status, said("x", about="account"), asked()) == "account"


@pytest.mark.parametrize("status", [400, 409, 422, 429, 500, 503])
def test_other_statuses_say_nothing_of_it(status: int) -> None:
    assert cause_of(status, said("Not found"), asked()) is None


@pytest.mark.parametrize(
    ("code", "cause"),
    [("401", "own_secret"), ("402", "account"), ("404", "unserved"), ("429", None), (None, None)],
)
def test_an_error_inside_a_2xx_reply_has_its_status_as_a_code(code: str | None, cause: str | None) -> None:
    assert cause_of(None, said("x", code=code), asked()) == cause


@pytest.mark.parametrize(
    "body",
    [
        said("Your API key does not have permission to use the specified resource.", type="permission_error"),
        said("Access denied due to Virtual Network/Firewall rules.", code="403"),
        said("You have insufficient permissions for this operation. Missing scopes: model.request"),
        said("Key limit exceeded", code="403", about="account"),
        said("Forbidden", code="permission_denied"),
        said("Project `p` does not have access to this."),
    ],
)
def test_a_403_about_the_gateways_access_is_the_operators(body: UpstreamErrorBody) -> None:
    assert cause_of(403, body, asked()) == "account"


@pytest.mark.parametrize(
    "body",
    [
        said("Your input was flagged.", about="content_policy"),
        said("The content violates the rules of your organization."),
        said(
            "You do not have permission to access the File f or it may not exist.", code="permission_denied"
        ),
        said("Your project may not use this model."),
        said("<html>blocked</html>"),
        said(),
    ],
)
def test_any_other_403_stays_what_it_was(body: UpstreamErrorBody) -> None:
    assert cause_of(403, body, asked()) in {None, "content_policy"}
