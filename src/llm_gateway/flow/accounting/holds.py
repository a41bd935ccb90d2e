"""Estimates the tokens of a request before a provider is called: what limits and budgets hold for it meanwhile."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.flow.ports.limits import Demand, ExpectedTokens

_BYTES_PER_TOKEN = 4
# The same as a number of bits; what is left over of a division is a token.
_TOKEN_BITS, _TOKEN_REST = 2, 3
# What surrounds any prompt, so that no estimate is 0.
FRAME_TOKENS = 3
# Smaller values are not searched for media.
SMALL = 4096
# An image of 1024 x 1024 pixels at OpenAI; base64 bytes of a document per token.
_IMAGE_TOKENS, _DOCUMENT_BYTES = 765, 50
# More media than this in one value are counted as text, so that finding them takes no time that others wait for.
_MOST_MEDIA = 1000
# No model writes more; a client that states more is taken to state nothing.
_MOST_STATED = 1_000_000
_MOST_CHOICES = 128
# No more digits are read: a number of a megabyte must cost nothing.
_DIGITS = 8
# Replies before the history of a model is believed, and after which the older half of it is forgotten.
_ENOUGH, _MANY = 100, 10_000
# Buckets for each doubling, up to 2^24 tokens: a quantile is at most 9.1 % too high.
_STEPS, _BUCKETS = 8, 8 * 24 + 2
# Models that one worker remembers.
_MOST_MODELS = 2048
# Replies that are counted together.
TOGETHER = 32

PROMPT_FIELDS: Final[Mapping[EndpointName, frozenset[str]]] = {
    "chat/completions": frozenset({"messages", "tools", "functions", "response_format"}),
    "completions": frozenset({"prompt", "suffix"}),
    "embeddings": frozenset({"input"}),
    "responses": frozenset({"input", "instructions", "tools", "text", "prompt"}),
}
_OUTPUT_FIELDS: Final[Mapping[EndpointName, tuple[str, ...]]] = {
    "chat/completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "embeddings": (),
    "responses": ("max_output_tokens",),
}
# Whatever says how long a reply is to be. Most requests have none of them.
LENGTH_FIELDS: Final = frozenset({"max_completion_tokens", "max_tokens", "max_output_tokens", "n", "best_of"})
# All that an estimate depends on, and whether the endpoint itself says how long replies are.
_COUNTED_FIELDS: Final = {
    endpoint: (fields | LENGTH_FIELDS, not _OUTPUT_FIELDS[endpoint])
    for endpoint, fields in PROMPT_FIELDS.items()
}
# What is learnt of a record; and of a served request, which takes a fraction of the time.
_reply_of: Final = attrgetter("outcome", "completion_tokens", "model", "provider", "upstream_model")
_served_reply_of: Final = attrgetter("known", "completion_tokens")


# Outcome, completion tokens, model, provider, upstream model.
_Reply = tuple[str, int | None, str | None, str | None, str | None]


class OutputHistory:
    """How many tokens the latest replies of one model had: a histogram with fixed buckets, merged by addition."""

    __slots__ = ("_place", "_up_to_place", "counts", "last_p99", "recount_at", "samples")

    def __init__(self) -> None:
        # By bucket.
        self.counts = [0] * _BUCKETS
        self.samples = 0
        self.last_p99 = 0
        # The number of samples at which the quantile is computed again.
        self.recount_at = 0
        # The bucket where the quantile was found last, and how many replies are in it and in those below: it hardly
        # moves, so that nearly all buckets need not be added up again.
        self._place = self._up_to_place = 0

    def add(self, tokens: int) -> None:
        self.add_to(_bucket(tokens), 1)

    def add_to(self, bucket: int, number: int) -> None:
        """Add so many replies to a bucket."""
        self.counts[bucket] += number
        self.samples += number
        if bucket <= self._place:
            self._up_to_place += number
        if self.samples >= _MANY:
            self.forget()

    def forget(self) -> None:
        """Forget the older half of the replies: there are `_MANY`."""
        self._replace([count // 2 for count in self.counts])

    def merge(self, other: OutputHistory) -> None:
        """Add the replies of `other`."""
        self._replace([ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)])

    def _replace(self, counts: list[int]) -> None:
        self.counts = counts
        self.samples = sum(counts)
        self.recount_at = self._place = 0
        self._up_to_place = counts[0]

    def p99(self) -> int:
        """Return a number of tokens that 99 of 100 replies do not exceed; it may lag behind the latest hundredth."""
        if self.samples >= self.recount_at:
            self.recount_at = self.samples + max(self.samples // 100, 1)
            self.last_p99 = self._quantile(0.99)
        return self.last_p99

    def _quantile(self, part: float) -> int:
        """Return the upper end of the lowest bucket up to which there are so many of the replies."""
        counts, place, up_to = self.counts, self._place, self._up_to_place
        rank = math.ceil(part * self.samples)
        while up_to < rank:
            place += 1
            up_to += counts[place]
        while place and up_to - counts[place] >= rank:
            up_to -= counts[place]
            place -= 1
        self._place, self._up_to_place = place, up_to
        return math.ceil(2 ** ((place - 1) / _STEPS)) if place else 0


@lru_cache(maxsize=4096)
def _bucket(tokens: int | None) -> int:
    return (
        0 if tokens is None or tokens <= 0 else min(1 + math.ceil(_STEPS * math.log2(tokens)), _BUCKETS - 1)
    )


class TokenEstimator:
    """Estimates a request from its bytes, from `max_tokens`, and from the replies that its model gave before.

    The estimate is never based on the context window or on an absurd `max_tokens`, which would starve all others.
    What is estimated too low is made good when the request is settled. Replies are counted together: once a
    deployment has given enough of them, an estimate may leave out the latest 31 at most. Use it from one thread.
    """

    __slots__ = (
        "_default_output",
        "_histories",
        "_learnt",
        "_together",
        "_usual",
        "counted",
        "learn_once",
        "replies",
    )

    def __init__(self, default_output: int) -> None:
        """`default_output` is the number of tokens of a completion before a model has given enough replies."""
        self._default_output = default_output
        # By provider and upstream model, and by public model alone. The one used last comes last.
        self._histories: dict[tuple[str, str] | str, OutputHistory] = {}
        # Both histories of a reply, while there is room for all models.
        self._together: dict[tuple[str, str | None, str | None], tuple[OutputHistory, ...]] = {}
        # Those that are not counted yet, always in the same list; from TOGETHER on, an estimate counts them.
        self.replies: list[SettledRequest] = []
        # How often replies were counted.
        self.counted = 0
        # Does what `learn` does for those who call it once a request, each time after an estimate.
        self.learn_once: Callable[[SettledRequest], None] = self.replies.append
        # What deployments that have given enough replies usually write, until more replies are counted: by their
        # ids, which are theirs as long as they are here.
        self._usual: dict[int, tuple[int, Deployment]] = {}
        # The last reply that was counted.
        self._learnt: SettledRequest | None = None

    def expect(self, demand: Demand) -> ExpectedTokens:
        """Return the tokens that a request is expected to use, and store them in `demand`."""
        prompt, completion, is_stated = self.estimate(demand)
        expected = demand.expected = ExpectedTokens(prompt, completion, is_stated)
        return expected

    def estimate(self, demand: Demand) -> tuple[int, int, bool]:
        """Return the fields of the `ExpectedTokens` of a request."""
        request = demand.request
        fields, prompt = request.fields, FRAME_TOKENS
        counted, states_length = _COUNTED_FIELDS[request.endpoint]
        # One pass, because an operation of sets takes as long as some ten steps of it.
        for name in fields:
            if name in counted:
                if name in LENGTH_FIELDS:
                    states_length = True
                    continue
                size = len(fields[name])
                if size <= SMALL:
                    prompt += (size + _TOKEN_REST) >> _TOKEN_BITS
                else:
                    prompt += _large_value_tokens(bytes(fields[name]))
        if len(self.replies) >= TOGETHER:
            self._count()
        if states_length:
            return prompt, *self._stated_output(demand)
        usual = self._usual.get(id(demand.deployment))
        return prompt, self._usual_output(demand) if usual is None else usual[0], False

    def usual_output(self, deployment: Deployment) -> int | None:
        """Return what a deployment usually writes, which estimates use as long as `counted` is the same.

        None if it has given too few replies for that, or if no estimate needed it since.
        """
        usual = self._usual.get(id(deployment))
        return None if usual is None else usual[0]

    def learn(self, record: SettledRequest) -> None:
        """Remember how long a reply was. All limits of a request may call this; the first call counts."""
        replies = self.replies
        if record is (replies[-1] if replies else self._learnt):
            return
        replies.append(record)
        if len(replies) >= TOGETHER:
            self._count()

    def history(self, key: tuple[str, str] | str) -> OutputHistory | None:
        """Return the history of (provider_key, upstream model), or of a public model."""
        self._count()
        return self._histories.get(key)

    def _stated_output(self, demand: Demand) -> tuple[int, bool]:
        """Return the tokens of a completion whose length the request may state, and whether it does."""
        endpoint, fields = demand.request.endpoint, demand.request.fields
        if endpoint == "embeddings":
            return 0, True
        stated = max((_whole(fields, name, _MOST_STATED) for name in _OUTPUT_FIELDS[endpoint]), default=0)
        completion = stated or self._usual_output(demand)
        if "n" in fields or "best_of" in fields:
            completion *= max(_choices(fields, "n"), _choices(fields, "best_of"))
        return completion, stated > 0

    def _usual_output(self, demand: Demand) -> int:
        """Return the 99th percentile of the deployment, else of the model, else the default."""
        self._count()
        deployment = demand.deployment
        if deployment is not None:
            found = self._histories.get((deployment.provider_key, deployment.upstream_model))
            if found is not None and found.samples >= _ENOUGH:
                usual = found.p99()
                self._usual[id(deployment)] = usual, deployment
                return usual
        found = self._histories.get(demand.request.model)
        if found is not None and found.samples >= _ENOUGH:
            return found.p99()
        return self._default_output

    def _count(self) -> None:
        """Add the replies that wait for it to their histories."""
        replies = self.replies.copy()
        if not replies:
            return
        self.replies.clear()
        self._usual.clear()
        self.counted += 1
        self._learnt = replies[-1]
        for reply, number in _alike(replies):
            outcome, tokens, model, provider, upstream_model = reply
            if outcome != "ok" or not tokens or model is None:
                continue
            both = self._together.get((model, provider, upstream_model))
            bucket = _bucket(tokens)
            for history in both or self._find_both(model, provider, upstream_model):
                history.add_to(bucket, number)

    def _find_both(
        self, model: str, provider: str | None, upstream_model: str | None
    ) -> tuple[OutputHistory, ...]:
        found = [self._history(model)]
        if provider is not None and upstream_model is not None:
            found.append(self._history((provider, upstream_model)))
        both = tuple(found)
        if len(self._histories) > _MOST_MODELS // 2 or len(self._together) >= _MOST_MODELS:
            # The order of their use matters, because one will have to make room.
            self._together.clear()
        else:
            self._together[model, provider, upstream_model] = both
        return both

    def _history(self, key: tuple[str, str] | str) -> OutputHistory:
        histories = self._histories
        found = histories.pop(key, None)
        if found is None:
            found = OutputHistory()
            if len(histories) >= _MOST_MODELS:
                del histories[next(iter(histories))]
        histories[key] = found
        return found


def _alike(replies: Sequence[SettledRequest]) -> Iterable[tuple[_Reply, int]]:
    """Return what is learnt of replies, and of how many of them."""
    try:
        served = Counter(map(_served_reply_of, replies))
    except AttributeError:
        # One of them is a record.
        return Counter(map(_reply_of, replies)).items()
    return [
        (("ok", tokens, known.model, known.provider, known.upstream_model), number)
        for (known, tokens), number in served.items()
    ]


def _large_value_tokens(raw: bytes) -> int:
    """Return the tokens of a large JSON value; media in it are not text, and count for less."""
    media_bytes = tokens = 0
    for mark in (b";base64,", b'"data":"', b'"data": "', b'"file_data":"', b'"file_data": "'):
        at, found = raw.find(mark), 0
        while at >= 0 and found < _MOST_MEDIA:
            found += 1
            start = at + len(mark)
            end = raw.find(b'"', start)
            size = (len(raw) if end < 0 else end) - start
            # A data URL in one of the other fields is counted once, at its own mark.
            if mark[0] == 0x3B or raw[start : start + 5] != b"data:":
                media_bytes += size
                is_image = raw.rfind(b"data:image/", max(at - 64, 0), at) >= 0
                tokens += min(
                    _IMAGE_TOKENS if is_image else size // _DOCUMENT_BYTES, size // _BYTES_PER_TOKEN
                )
            at = raw.find(mark, start + size)
    return tokens + -(-max(len(raw) - media_bytes, 0) // _BYTES_PER_TOKEN)


def _choices(fields: Mapping[str, msgspec.Raw], name: str) -> int:
    """Return how many replies a field asks for: at least 1, and no more than any provider gives."""
    raw = fields.get(name)
    text = b"" if raw is None else bytes(raw).strip()
    if not text.isdigit():
        return 1
    return _MOST_CHOICES if len(text) > _DIGITS else min(max(int(text), 1), _MOST_CHOICES)


def _whole(fields: Mapping[str, msgspec.Raw], name: str, most: int) -> int:
    """Return a field's value if it is a whole number from 1 to `most`, else 0."""
    raw = fields.get(name)
    if raw is None:
        return 0
    text = bytes(raw).strip()
    if len(text) > _DIGITS or not text.isdigit():
        return 0
    value = int(text)
    return value if value <= most else 0
