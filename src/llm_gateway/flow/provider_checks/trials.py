"""Tests a provider for an admin: sends one small request or lists its models, and explains the result."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.core.config.deployments import Deployment, EnabledProvider
from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob
from llm_gateway.core.config.providers import Kind, Provider, provider_faults
from llm_gateway.core.errors import GatewayError, Unprocessable, UpstreamFailed, UpstreamTimedOut
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.failures.redaction import redact, with_secrets
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.listeners import ProviderTest, TrialListener, notify
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.providers.base import Adapter, UpstreamErrorBody, UpstreamRequest
from llm_gateway.wire.errors import BadReply

# Seconds for the whole test. A local server may have to load its model first.
_TIMEOUT = 30.0
_REPLY_LIMIT = 8 * 1024 * 1024
_MAX_TOKENS = 16
_PROMPT = "Say OK."
_TEXT_LIMIT = 200

_PROXY_FAILED = "Check the gateway's HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and the proxy itself."
_UNREACHABLE = "Check api_base, and whether this machine can reach it."
_CHECK_OAUTH2 = (
    "Could not obtain an access token: check oauth2, api_key, and whether this machine can reach token_url."
)
_TIMED_OUT = "Try again. A server that has to load its model first may take longer than this test waits."
_ADVICE = {
    400: "Specify another model in the body. GET .../models lists the provider's models.",
    401: "Set a valid api_key (with oauth2: client_id, scope, and the client secret as api_key).",
    402: "The provider account is out of credit. Add funds with the provider.",
    403: "The API key lacks a permission. Check its permissions and the model at the provider.",
    404: "Check api_base and the model name. GET .../models lists the provider's models.",
    422: "The provider rejects a field of the request. Check provider_type.",
    429: "The account has reached a rate limit or quota. Wait, or raise the limit at the provider.",
}
_PROVIDER_FAILED = "The provider is failing. Try again later."
_WRONG_KIND = "The server does not speak this provider_type's API. Check provider_type and api_base."


class OfferedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a provider lists, and the public names or patterns that map to it."""

    name: str
    served_as: tuple[str, ...]


class _TestFailed(Exception):
    """A test has failed: what happened, and what to do about it."""

    def __init__(
        self, error: str, advice: str, *, status: int | None = None, timed_out: bool = False
    ) -> None:
        super().__init__(error)
        self.error = error
        self.advice = advice
        self.status = status
        self.timed_out = timed_out


class ProviderTester:
    """Tests providers, enabled or not. Tests leave no usage record, since no client made the request."""

    def __init__(self, gateway: Gateway, kinds: Mapping[str, Kind], listener: TrialListener) -> None:
        self._gateway = gateway
        self._kinds = kinds
        self._listener = listener

    async def test(self, provider: Provider, model: str | None) -> ProviderTest:
        """Request a few tokens from `model`, a public or upstream name; None = the first mapped or listed model.

        Raise Unprocessable when the provider's row is invalid.
        """
        trial = self._trial(provider)
        try:
            result = await trial.chat(model)
        except _TestFailed as failed:
            result = trial.failed(failed)
        notify(self._listener.tested, result)
        return result

    async def models(self, provider: Provider) -> list[OfferedModel]:
        """Return the models that the provider lists.

        Raise UpstreamFailed or UpstreamTimedOut, whose messages include advice, and Unprocessable.
        """
        trial = self._trial(provider)
        try:
            names = await trial.models()
        except _TestFailed as failed:
            error: GatewayError
            error = (UpstreamTimedOut if failed.timed_out else UpstreamFailed)(
                f"{failed.error} {failed.advice}"
            )
            raise error from None
        return [OfferedModel(name=name, served_as=_served_as(provider, name)) for name in names]

    def _trial(self, provider: Provider) -> _Trial:
        faults = provider_faults(provider, self._kinds)
        if faults:
            raise Unprocessable(
                f"This provider cannot be used: {'; '.join(fault.message for fault in faults)}"
            )
        return _Trial(self._gateway, provider, self._kinds[provider.provider_type])


class _Trial:
    """A single test of one provider."""

    __slots__ = ("_adapter", "_deadline", "_gateway", "_kind", "_provider", "_redacted", "_started", "model")

    def __init__(self, gateway: Gateway, provider: Provider, kind: Kind) -> None:
        self._gateway = gateway
        self._provider = provider
        self._kind = kind
        self._adapter: Adapter = gateway.adapters[kind.name]
        self._started = gateway.clock.monotonic()
        self._deadline = self._started + _TIMEOUT
        # The secrets of these rows are redacted from messages: the provider's own, and its access token.
        self._redacted = [provider]
        self.model: str | None = None

    async def chat(self, model: str | None) -> ProviderTest:
        """Send a small chat request and return the result; raise _TestFailed."""
        provider = await self._ready_provider()
        self.model = await self._choose(provider, model)
        request = _request(self.model, self._gateway.clock.unix_us() // 1_000_000)
        try:
            sent = self._adapter.encode(request, provider.deployment(self.model), {})
        except GatewayError as error:
            raise _TestFailed(error.message, _ADVICE[400]) from None
        status, body = await self._send(sent)
        try:
            completion = self._adapter.decode(body, request)
        except BadReply as bad:
            raise _TestFailed(f"The reply could not be read: {bad}.", _WRONG_KIND, status=status) from None
        if completion.refusal is not None:
            raise self._failed_in_band(completion.refusal, status)
        text = _text_of(completion.body)
        return ProviderTest(
            provider=self._provider.provider_key,
            ok=True,
            latency_ms=self._elapsed_ms(),
            model=self.model,
            status=status,
            text=None if text is None else self._safe(text)[:_TEXT_LIMIT],
            usage=completion.usage if isinstance(completion.usage, Usage) else None,
        )

    def failed(self, failed: _TestFailed) -> ProviderTest:
        """Return the result of a failed test."""
        return ProviderTest(
            provider=self._provider.provider_key,
            ok=False,
            latency_ms=self._elapsed_ms(),
            model=self.model,
            status=failed.status,
            error=failed.error,
            advice=failed.advice,
        )

    async def models(self) -> list[str]:
        """Return the names of the models that the provider lists; raise _TestFailed."""
        return await self._list(await self._ready_provider())

    def _elapsed_ms(self) -> float:
        return round((self._gateway.clock.monotonic() - self._started) * 1000, 3)

    async def _ready_provider(self) -> EnabledProvider:
        """Return the provider, with an access token as its secret if it uses OAuth2."""
        provider = self._provider
        if provider.oauth2 is not None and provider.secret is not None:
            try:
                token = await self._gateway.tokens.token(
                    provider.id, provider.oauth2, provider.secret, self._time_left()
                )
            except TransportError as fault:
                raise _TestFailed(
                    _sentence(fault), _CHECK_OAUTH2, timed_out=fault.kind == "timeout"
                ) from None
            provider = msgspec.structs.replace(provider, secret=token)
            self._redacted.append(provider)
        return EnabledProvider(provider, self._kind)

    async def _choose(self, provider: EnabledProvider, model: str | None) -> str:
        if model is not None:
            return provider.upstream_model(model) or model
        for public, upstream in self._provider.model_mapping.items():
            if upstream != "*":
                return upstream
            if not is_glob(public):
                return public
        listed = await self._list(provider)
        usable = [name for name in listed if provider.upstream_model(name) is not None] or listed
        if not usable:
            raise _TestFailed(
                "The provider lists no models.", 'Specify a model in the body: {"model": "..."}.'
            )
        return usable[0]

    async def _list(self, provider: EnabledProvider) -> list[str]:
        try:
            asked = self._adapter.models_request(provider)
        except BadReply as bad:
            raise _TestFailed(f"The models could not be asked for: {bad}.", _WRONG_KIND) from None
        status, body = await self._send(asked)
        try:
            return self._adapter.decode_models(body)
        except BadReply as bad:
            raise _TestFailed(f"The reply could not be read: {bad}.", _WRONG_KIND, status=status) from None

    async def _send(self, request: UpstreamRequest) -> tuple[int, bytes]:
        try:
            reply = await self._gateway.upstream.send(request, self._time_left())
            try:
                body = await reply.read_all(_REPLY_LIMIT, self._time_left())
            finally:
                reply.close()
        except TransportError as fault:
            raise _from_fault(fault) from None
        if 200 <= reply.status < 300:
            return reply.status, body
        self._forget_token(reply.status)
        message = self._adapter.decode_error(body).message
        error = f"The provider answered with status {reply.status}"
        # The provider's own message, with a final period so that the advice can follow.
        error += f": {self._safe(message).rstrip('. ')}." if message else "."
        advice = _ADVICE.get(reply.status, _PROVIDER_FAILED if reply.status >= 500 else _WRONG_KIND)
        raise _TestFailed(error, advice, status=reply.status)

    def _failed_in_band(self, refusal: UpstreamErrorBody, status: int) -> _TestFailed:
        message = self._safe(refusal.message or "no reason given").rstrip(". ")
        return _TestFailed(
            f"The provider reported an error with status {status}: {message}.",
            _PROVIDER_FAILED,
            status=status,
        )

    def _forget_token(self, status: int) -> None:
        token = self._redacted[-1].secret
        if status == 401 and len(self._redacted) > 1 and token is not None:
            self._gateway.tokens.forget(self._provider.id, token)

    def _safe(self, text: str) -> str:
        for provider in self._redacted:
            text = redact(text, with_secrets(_deployment(provider, self._kind), self._gateway.tokens))
        return text

    def _time_left(self) -> float:
        return max(self._deadline - self._gateway.clock.monotonic(), 0.0)


def _deployment(provider: Provider, kind: Kind) -> Deployment:
    return EnabledProvider(provider, kind).deployment("")


def _from_fault(fault: TransportError) -> _TestFailed:
    if fault.kind == "timeout":
        return _TestFailed(_sentence(fault), _TIMED_OUT, timed_out=True)
    if fault.kind == "proxy":
        return _TestFailed(_sentence(fault), _PROXY_FAILED)
    return _TestFailed(_sentence(fault), _WRONG_KIND if fault.kind == "protocol" else _UNREACHABLE)


def _sentence(fault: TransportError) -> str:
    text = str(fault)
    return f"{text[:1].upper()}{text[1:]}."


def _request(model: str, now: int) -> ModelRequest:
    fields = {
        "model": model,
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_completion_tokens": _MAX_TOKENS,
    }
    return ModelRequest(
        endpoint="chat/completions",
        model=model,
        stream=False,
        wants_usage=False,
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()},
        created=now,
    )


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    choices: list[_Choice]


def _text_of(completion: bytes) -> str | None:
    try:
        choices = msgspec.json.decode(completion, type=_Reply).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return choices[0].message.content if choices else None


def _served_as(provider: Provider, name: str) -> tuple[str, ...]:
    """Return the public names and patterns that map to an upstream model."""
    mapping = provider.model_mapping or {"*": "*"}
    names = []
    for public, upstream in mapping.items():
        if upstream == name or (upstream == "*" and name in ModelPatterns((public,))):
            # A pattern mapped to "*" serves the model under its own name.
            names.append(name if upstream == "*" else public)
    return tuple(dict.fromkeys(names))
