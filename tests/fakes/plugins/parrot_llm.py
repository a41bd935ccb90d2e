"""Parrot's API has nothing in common with OpenAI's: turns go in, and lines of JSON come out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.providers.plugin_api import (
    BadReply,
    Completion,
    Delta,
    Deployment,
    EnabledProvider,
    FinishReason,
    JsonLinesStream,
    Kind,
    ModelRequest,
    ReplyStream,
    ReplyWriter,
    Secret,
    StatedUsage,
    TextPart,
    UpstreamErrorBody,
    UpstreamRequest,
    Usage,
    check_unsupported,
    read_conversation,
    stated_usage,
    unsupported_field,
)

API = "Parrot's API"
FINISH_REASONS: Mapping[str, FinishReason] = {"done": "stop", "limit": "length"}


class Counts(msgspec.Struct):
    heard: int | None = None
    said: int | None = None


class Problem(msgspec.Struct):
    name: str = ""
    text: str = ""


class Spoken(msgspec.Struct):
    """A whole reply, or one line of a stream; the last line has `ended`. An error has `problem` alone."""

    said: str | None = None
    ended: str | None = None
    counts: Counts | None = None
    problem: Problem | None = None


class Cage(msgspec.Struct):
    parrots: list[str]


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
decode_spoken = msgspec.json.Decoder(Spoken).decode
decode_cage = msgspec.json.Decoder(Cage).decode


def read_spoken(body: bytes) -> Spoken:
    """Read a reply or a line; raise BadReply, after which another provider is tried."""
    try:
        return decode_spoken(body)
    except UNREADABLE:
        raise BadReply("the parrot cannot be understood") from None


def read_answer(body: bytes) -> Spoken:
    """Read a whole reply; raise BadReply for half an answer."""
    spoken = read_spoken(body)
    if spoken.problem is None and (spoken.said is None or spoken.ended is None):
        raise BadReply("the parrot did not say all")
    return spoken


def error_of(problem: Problem) -> UpstreamErrorBody:
    """Translate an error; `about` decides what the gateway does about it."""
    return UpstreamErrorBody(
        message=problem.text or None,
        type=problem.name or None,
        about="unserved" if problem.name == "no_such_parrot" else None,
    )


def usage_of(spoken: Spoken) -> Usage | StatedUsage | None:
    """Return what was counted; None = the gateway counts tokens itself."""
    return None if spoken.counts is None else stated_usage(spoken.counts.heard, spoken.counts.said, None)


def finish_reason(spoken: Spoken) -> FinishReason:
    return FINISH_REASONS.get(spoken.ended or "", "stop")


class ParrotStream(JsonLinesStream):
    """Translates one line at a time."""

    def take(self, data: bytes) -> bytes:
        spoken = read_spoken(data)
        if spoken.problem is not None:
            self.refusal = error_of(spoken.problem)
            return b""
        out = b""
        if spoken.said:
            out += self.writer.chunk(Delta(role="assistant", content=spoken.said))
            self.content_seen = True
        if spoken.ended is not None:
            self.usage = usage_of(spoken)
            out += self.writer.chunk(Delta(), finish_reason(spoken)) + self.writer.usage(self.usage)
            self.content_seen = self.finished = self.done = True
        return out

    def take_whole(self, body: bytes) -> bytes:
        read_answer(body)
        return self.take(body)


class ParrotAdapter:
    """Implements `Adapter`."""

    kind = Kind(name="parrot", version_segment="", default_api_base="https://parrot.example")

    def encode(
        self, request: ModelRequest, deployment: Deployment, extra_headers: Mapping[str, str]
    ) -> UpstreamRequest:
        chat = read_conversation(request)
        ignored = check_unsupported(API, chat)
        for name in ("tools", "tool_choice", "response_format", "top_p", "stop", "reasoning_effort"):
            if getattr(chat, name):
                raise unsupported_field(API, name)
        if chat.n != 1:
            raise unsupported_field(API, "n")
        turns = []
        for message in chat.messages:
            if not all(isinstance(part, TextPart) for part in message.parts):
                raise unsupported_field(API, "messages")
            text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
            turns.append({"by": message.role, "text": text})
        body = {
            "parrot": deployment.upstream_model,
            "turns": turns,
            "line_by_line": request.stream,
            "most": chat.max_tokens,
            "mood": chat.temperature,
        }
        return UpstreamRequest(
            url=f"{deployment.base_url}/speak",
            headers={**headers(deployment.secret), "content-type": "application/json", **extra_headers},
            body=msgspec.json.encode({name: value for name, value in body.items() if value is not None}),
            ignored_fields=ignored,
        )

    def decode(self, body: bytes, request: ModelRequest) -> Completion:
        spoken = read_answer(body)
        if spoken.problem is not None:
            return Completion(body=body, usage=None, refusal=error_of(spoken.problem))
        usage = usage_of(spoken)
        whole = ReplyWriter(request).whole(Delta(content=spoken.said), finish_reason(spoken), usage)
        return Completion(body=whole, usage=usage)

    def stream(self, request: ModelRequest, *, event_limit: int) -> ReplyStream:
        return ParrotStream(request, event_limit=event_limit)

    def decode_error(self, body: bytes) -> UpstreamErrorBody:
        try:
            return error_of(decode_spoken(body).problem or Problem())
        except UNREADABLE:
            return UpstreamErrorBody()

    def models_request(self, provider: EnabledProvider) -> UpstreamRequest:
        secret = provider.provider.secret
        return UpstreamRequest(url=f"{provider.base_url}/cage", headers=headers(secret), method="GET")

    def decode_models(self, body: bytes) -> list[str]:
        try:
            return decode_cage(body).parrots
        except UNREADABLE:
            raise BadReply("the cage cannot be read") from None


def headers(secret: Secret | None) -> dict[str, str]:
    return {"accept-encoding": "identity"} | ({} if secret is None else {"x-parrot-key": secret.reveal()})


ADAPTER = ParrotAdapter()
