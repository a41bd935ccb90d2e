"""Tries a provider out for an admin: one tiny request, or its list of models, and what came back in plain words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.core.config.model_patterns import ModelPatterns, is_glob
from llm_gateway.core.config.providers import Kind, Provider, provider_faults
from llm_gateway.core.config.snapshot import Deployment, EnabledProvider
from llm_gateway.core.errors import GatewayError, Unprocessable, UpstreamFailed, UpstreamTimedOut
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.listeners import ProviderTest, TrialListener
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.redaction import redact
from llm_gateway.providers.base import Adapter, UpstreamErrorBody, UpstreamRequest
from llm_gateway.wire.errors import BadReply

# Seconds for everything together: a local server may have to load its model first.
_TIMEOUT = 30.0
_REPLY_LIMIT = 8 * 1024 * 1024
_MOST_TOKENS = 16
_QUESTION = "Say OK."
_SHOWN = 200

_UNREACHED = "Check api_base, and that this machine can reach it."
_NO_TOKEN = "No access token was had: check oauth2, api_key, and that this machine can reach token_url."  # noqa: S105 - a sentence
_LATE = "Try again: a server that loads its model first may take longer than this test waits."
_ADVICE = {
    400: "Name another model in the body, or see what the provider offers: GET .../models.",
    401: "Set a valid api_key (with oauth2: client_id, scope and api_key, the client's secret).",
    402: "The account has no money left; its provider has to be paid.",
    403: "The key may not do this: check its rights and the model at the provider.",
    404: "Check api_base and the model's name: GET .../models lists what the provider offers.",
    422: "The provider refuses a field of the request; check provider_type.",
    429: "The account's limit is reached; wait, or raise it at the provider.",
}
_FAILED = "The provider itself fails; try again later."
_ODD = "What answers does not speak this provider_type; check provider_type and api_base."


class OfferedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a provider lists, and the public names (or globs) it is served as."""

    name: str
    served_as: tuple[str, ...]


class _TestFailed(Exception):
    """The end of a test: what is said of it."""

    def __init__(self, error: str, advice: str, *, status: int | None = None, late: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.advice = advice
        self.status = status
        self.late = late


class ProviderTester:
    """Tests providers, enabled or not. It leaves no usage row: no client asked."""

    def __init__(self, gateway: Gateway, kinds: Mapping[str, Kind], listener: TrialListener) -> None:
        """Ask over the gateway's own connections."""
        self._gateway = gateway
        self._kinds = kinds
        self._listener = listener

    async def test(self, provider: Provider, model: str | None) -> ProviderTest:
        """Ask for a few tokens of `model`, a public or upstream name; None = the first mapped or listed one.

        Raise Unprocessable when the provider's row cannot be used at all.
        """
        trial = self._trial(provider)
        try:
            result = await trial.chat(model)
        except _TestFailed as failed:
            result = trial.failed(failed)
        self._listener.tested(result)
        return result

    async def models(self, provider: Provider) -> list[OfferedModel]:
        """Return what the provider lists; raise UpstreamFailed or UpstreamTimedOut, which say what to do."""
        trial = self._trial(provider)
        try:
            names = await trial.models()
        except _TestFailed as failed:
            error: GatewayError
            error = (UpstreamTimedOut if failed.late else UpstreamFailed)(f"{failed.error} {failed.advice}")
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
    """One test of one provider."""

    __slots__ = ("_adapter", "_deadline", "_gateway", "_kind", "_provider", "_shown", "_started", "model")

    def __init__(self, gateway: Gateway, provider: Provider, kind: Kind) -> None:
        self._gateway = gateway
        self._provider = provider
        self._kind = kind
        self._adapter: Adapter = gateway.adapters[kind.name]
        self._started = gateway.clock.monotonic()
        self._deadline = self._started + _TIMEOUT
        # Whose secrets are taken out of what is said: the provider's own, and with its access token.
        self._shown = [provider]
        self.model: str | None = None

    async def chat(self, model: str | None) -> ProviderTest:
        """Return what came back of a tiny chat; raise _TestFailed."""
        provider = await self._serving()
        self.model = await self._choose(provider, model)
        request = _question(self.model, self._gateway.clock.unix_us() // 1_000_000)
        try:
            sent = self._adapter.encode(request, provider.deployment(self.model), {})
        except GatewayError as error:
            raise _TestFailed(error.message, _ADVICE[400]) from None
        status, body = await self._ask(sent)
        try:
            completion = self._adapter.decode(body, request)
        except BadReply as bad:
            raise _TestFailed(f"The answer could not be read: {bad}.", _ODD, status=status) from None
        if completion.refusal is not None:
            raise self._failed_in_band(completion.refusal, status)
        text = _text_of(completion.body)
        return ProviderTest(
            provider=self._provider.provider_key,
            ok=True,
            latency_ms=self._elapsed_ms(),
            model=self.model,
            status=status,
            text=None if text is None else self._safe(text)[:_SHOWN],
            usage=completion.usage,
        )

    def failed(self, failed: _TestFailed) -> ProviderTest:
        """Return what is said of a failure."""
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
        """Return the provider's own list; raise _TestFailed."""
        return await self._list(await self._serving())

    def _elapsed_ms(self) -> float:
        return round((self._gateway.clock.monotonic() - self._started) * 1000, 3)

    async def _serving(self) -> EnabledProvider:
        """Return the provider ready to be asked, with an access token for a secret where it needs one."""
        provider = self._provider
        if provider.oauth2 is not None and provider.secret is not None:
            try:
                token = await self._gateway.tokens.token(
                    provider.id, provider.oauth2, provider.secret, self._left()
                )
            except TransportError as fault:
                raise _TestFailed(_sentence(fault), _NO_TOKEN, late=fault.kind == "timeout") from None
            provider = msgspec.structs.replace(provider, secret=token)
            self._shown.append(provider)
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
            raise _TestFailed("The provider lists no models.", 'Name one in the body: {"model": "..."}.')
        return usable[0]

    async def _list(self, provider: EnabledProvider) -> list[str]:
        status, body = await self._ask(self._adapter.models_request(provider))
        try:
            return self._adapter.decode_models(body)
        except BadReply as bad:
            raise _TestFailed(f"The answer could not be read: {bad}.", _ODD, status=status) from None

    async def _ask(self, request: UpstreamRequest) -> tuple[int, bytes]:
        try:
            reply = await self._gateway.upstream.send(request, self._left())
            try:
                body = await reply.read_all(_REPLY_LIMIT, self._left())
            finally:
                reply.close()
        except TransportError as fault:
            raise _from_fault(fault) from None
        if 200 <= reply.status < 300:
            return reply.status, body
        self._forget_token(reply.status)
        said = self._adapter.decode_error(body).message
        error = f"The provider answered with status {reply.status}"
        # The provider's own sentence, ended so that the advice can follow.
        error += f": {self._safe(said).rstrip('. ')}." if said else "."
        advice = _ADVICE.get(reply.status, _FAILED if reply.status >= 500 else _ODD)
        raise _TestFailed(error, advice, status=reply.status)

    def _failed_in_band(self, refusal: UpstreamErrorBody, status: int) -> _TestFailed:
        said = self._safe(refusal.message or "it does not say why").rstrip(". ")
        return _TestFailed(f"The provider failed under status {status}: {said}.", _FAILED, status=status)

    def _forget_token(self, status: int) -> None:
        token = self._shown[-1].secret
        if status == 401 and len(self._shown) > 1 and token is not None:
            self._gateway.tokens.forget(self._provider.id, token)

    def _safe(self, text: str) -> str:
        for provider in self._shown:
            text = redact(text, _deployment(provider, self._kind))
        return text

    def _left(self) -> float:
        return max(self._deadline - self._gateway.clock.monotonic(), 0.0)


def _deployment(provider: Provider, kind: Kind) -> Deployment:
    return EnabledProvider(provider, kind).deployment("")


def _from_fault(fault: TransportError) -> _TestFailed:
    if fault.kind == "timeout":
        return _TestFailed(_sentence(fault), _LATE, late=True)
    return _TestFailed(_sentence(fault), _ODD if fault.kind == "protocol" else _UNREACHED)


def _sentence(fault: TransportError) -> str:
    text = str(fault)
    return f"{text[:1].upper()}{text[1:]}."


def _question(model: str, now: int) -> ModelRequest:
    fields = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_completion_tokens": _MOST_TOKENS,
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
    """Return the public names and globs that lead to an upstream model."""
    mapping = provider.model_mapping or {"*": "*"}
    names = []
    for public, upstream in mapping.items():
        if upstream == name or (upstream == "*" and name in ModelPatterns((public,))):
            # A glob that keeps names serves this one under its own.
            names.append(name if upstream == "*" else public)
    return tuple(dict.fromkeys(names))
