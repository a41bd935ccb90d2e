"""The error bodies of OpenAI and compatible servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.openai.errors import error_body_from
from llm_gateway.providers.openai.presets import PRESETS
from llm_gateway.providers.registry import ADAPTERS

WIRE = Path(__file__).parents[3] / "wire"


ERRORS = [
    pytest.param(path, id=f"{path.parent.name}-{path.stem}")
    for preset in (*PRESETS, ADAPTERS["openai"], ADAPTERS["azure"])
    for path in sorted((WIRE / preset.kind.name).glob("error.*.json"))
]


@pytest.mark.parametrize("path", ERRORS)
def test_recorded_error_bodies_are_classified(path: Path) -> None:
    refusal = ADAPTERS[path.parent.name].decode_error(path.read_bytes())
    about = path.name.split(".")[1]
    assert refusal.about == (None if about == "none" else about)
    assert refusal.message


def test_the_recordings_cover_every_class() -> None:
    seen = {path.values[0].name.split(".")[1] for path in ERRORS}  # type: ignore[union-attr]
    assert seen == {"context_length", "content_policy", "own_secret", "unserved", "none"}


@pytest.mark.parametrize(
    "error",
    [
        {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"},
        {"message": "Billing hard limit has been reached", "type": "invalid_request_error", "code": None},
        {"message": "x", "type": "invalid_request_error", "code": "billing_hard_limit_reached"},
        {"message": "Your account is not active, please check your billing details on our website.",
         "type": "billing_not_active", "code": "billing_not_active"},
        {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"},
        {"message": "Country, region, or territory not supported", "code": "unsupported_country_region_territory"},
        {"message": "Credit limit exceeded", "type": "credit_limit"},
        {"message": "Organization has been restricted.", "code": "organization_restricted"},
        {"message": "Provider returned error", "metadata": {"raw": "Your credit balance is too low to access"}},
        {"message": "Insufficient credits", "code": 402},
        {"message": "Account fireworks/x is suspended, possibly due to reaching the monthly spending limit"},
    ],
)  # fmt: skip
def test_the_operators_bill_is_about_the_account(error: dict[str, Any]) -> None:
    assert error_body_from({"error": error}).about == "account"


def test_xais_bill_and_key_have_texts_and_no_codes() -> None:
    spent = "Your team 0f1e-77 has either used all available credits or reached its monthly spending limit."
    code = "The caller does not have permission to execute the specified operation"
    assert error_body_from({"code": code, "error": spent}).about == "account"
    wrong = {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***bc."}
    assert error_body_from(wrong).about == "own_secret"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The model `gpt-x` does not exist or you do not have access to it.", "code": "model_not_found"},
        {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
        {"message": 'model "m" not found, try pulling it first', "type": "api_error"},
        {"message": "Model Not Exist", "type": "invalid_request_error"},
        {"message": "Model does not exist. Please check it carefully.", "code": 20012},
        {"message": "model not found", "type": "invalid_request_error"},
        {"message": "Model was not found", "code": 400},
        {"message": "No such model: m"},
        {"message": "Invalid model: m", "type": "invalid_model", "code": "1500"},
        {"message": "a/b is not a valid model ID", "code": 400},
        {"message": "The model `m` has been decommissioned", "code": "model_decommissioned"},
        {"message": "This model is only supported in v1/responses and not in v1/chat/completions.", "param": "model"},
        {"message": "This is not a chat model and thus not supported in the v1/chat/completions endpoint."},
        {"message": "The operation does not work with the specified model", "code": "OperationNotSupported"},
        "Unexpected endpoint or method. (POST /v1/responses). Returning 200 anyway",
    ],
)  # fmt: skip
def test_what_a_server_does_not_have_is_unserved(error: Any) -> None:
    assert error_body_from({"error": error}).about == "unserved"


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: 'Your credit balance is too low'. Supported values are: 'user'.",
        "Invalid value: 'the model `m` does not exist'.",
        "messages[0]: Incorrect API key provided",
        "Rate limit reached for gpt-4o in organization org-x on tokens per min.",
        "You exceeded your current quota, please check your plan and billing details.",
    ],
)
def test_a_message_that_quotes_the_client_or_asks_to_wait_is_neither(message: str) -> None:
    assert error_body_from({"error": {"message": message, "type": "invalid_request_error"}}).about is None


def test_validation_errors_become_one_line() -> None:
    read = ADAPTERS["mistral"].decode_error
    nested = read((WIRE / "mistral/error.none.extra-field.json").read_bytes())
    assert nested.message == "body.max_completion_tokens: Extra inputs are not permitted"
    assert nested.type == "invalid_request_error"
    bare = read((WIRE / "mistral/error.none.extra-field-bare.json").read_bytes())
    assert bare.message == "body.store: Extra inputs are not permitted"


def test_a_code_beside_the_text_is_read() -> None:
    refusal = ADAPTERS["xai"].decode_error((WIRE / "xai/error.context_length.json").read_bytes())
    assert refusal.code == "Client specified an invalid argument"


@pytest.mark.parametrize("value", [None, [], "busy", 5, {"error": ["x"]}, {"error": None}, {"error": 5}])
def test_a_body_of_an_unknown_shape_says_nothing(value: Any) -> None:
    assert error_body_from(value) == UpstreamErrorBody()


def test_all_fields_of_openais_shape_are_read() -> None:
    error = {"message": "No.", "type": "invalid_request_error", "code": "bad", "param": "messages[0]"}
    assert error_body_from({"error": error}) == UpstreamErrorBody(
        message="No.", type="invalid_request_error", code="bad", param="messages[0]"
    )


def test_a_number_as_code_becomes_text_and_other_types_are_dropped() -> None:
    found = error_body_from({"error": {"message": {"x": 1}, "type": True, "code": 429, "param": ["p"]}})
    assert found == UpstreamErrorBody(code="429")


@pytest.mark.parametrize(
    ("error", "about"),
    [
        ({"code": "context_length_exceeded"}, "context_length"),
        ({"type": "exceed_context_size_error"}, "context_length"),
        ({"code": "other", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, "content_policy"),
        ({"metadata": {"error_type": "context_length_exceeded"}}, "context_length"),
        ({"metadata": {"raw": "over the Maximum Context Length"}}, "context_length"),
        ({"metadata": {"flagged_input": "x"}, "message": "maximum context length"}, "content_policy"),
        # The policy comes first: another model of the same size may still answer.
        ({"message": "maximum context length; see the content management policy"}, "content_policy"),
        ({"code": ["context_length_exceeded"], "metadata": "raw", "innererror": []}, None),
    ],
)
def test_the_class_of_an_error_comes_from_its_codes_or_its_text(
    error: dict[str, Any], about: str | None
) -> None:
    assert error_body_from({"error": error}).about == about


def test_only_the_start_of_a_long_message_is_searched() -> None:
    phrase = "maximum context length"
    assert error_body_from({"message": "x" * 8000 + phrase}).about == "context_length"
    assert error_body_from({"message": "x" * 8192 + phrase}).about is None


def test_validation_errors_without_text_are_skipped() -> None:
    complaints = [{"msg": "missing"}, {"loc": ["body"]}, 5, {"msg": "too long", "loc": ["body", "n", 0]}]
    assert error_body_from({"detail": complaints}).message == "missing; body.n.0: too long"
    assert error_body_from({"detail": []}).message is None
