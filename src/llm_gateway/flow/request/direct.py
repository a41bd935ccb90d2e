"""Handles a request without a task: every stage at once, and the provider's connection calls back with the reply."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Principal, Snapshot
from llm_gateway.core.ledger.served import KnownFacts, known_facts
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.flow.accounting.token_estimates import stated_alone
from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import PresentedKey
from llm_gateway.flow.ports.limits import NOT_LIMITED, Limit
from llm_gateway.flow.ports.upstream import ListenedReply, PendingReply
from llm_gateway.flow.request.admission import authenticate
from llm_gateway.flow.request.attempt import Attempt, make_attempt
from llm_gateway.flow.request.direct_meter import DirectMeter
from llm_gateway.flow.request.handling import Handling
from llm_gateway.flow.request.pipeline import answer, answer_later, route_and_answer
from llm_gateway.flow.request.reply import Reply, WholeReply
from llm_gateway.flow.request.streaming.direct_stream import DirectStream
from llm_gateway.flow.routing.known_route import KnownRoute, Sender, known_route
from llm_gateway.flow.routing.plan import Plan, make_plan
from llm_gateway.providers.base import body_encoder

# What the client answers requests with.
_E = TypeVar("_E")
# Models that are remembered of one caller. Those that only wildcards serve have any name.
_MOST_ROUTES: Final = 64
# Beyond it, all are found again.
_MOST_CALLERS: Final = 4096
_OK = 200


class KnownCaller:
    """What an earlier request of a caller has shown, and what holds while its snapshot is in force.

    It does not refer to that snapshot, so that an old one is not kept by a route or a connection without requests.
    """

    __slots__ = ("account", "name", "reserve", "routes", "version")

    def __init__(self, snapshot: Snapshot, account: Principal, limit: Limit) -> None:
        self.account = account
        # None = no limit applies, or none that is known for each account.
        self.reserve = limit.for_account(account)
        self.version = snapshot.version
        self.name = account.credential.name
        # By model and endpoint, of those that were asked for; None = each request needs a plan.
        self.routes: dict[tuple[str, str], KnownRoute | None] = {}

    def route(self, handling: Handling, model: str) -> KnownRoute | None:
        """Return the route of a model if it needs no plan."""
        routes, endpoint = self.routes, handling.request.endpoint
        key = (model, endpoint)
        if key in routes:
            return routes[key]
        if len(routes) >= _MOST_ROUTES:
            routes.clear()
        selector = handling.gateway.selector
        found = routes[key] = known_route(selector, handling.snapshot, self.account, model, endpoint)
        return found


class KnownCallers:
    """The known callers of one route, under the configuration in force; all connections share them."""

    __slots__ = ("_by_snapshot", "_gateway")

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        # By what they send: the hash of their key, and the headers that go to providers.
        self._by_snapshot: WeakKeyDictionary[Snapshot, dict[tuple[object, ...], KnownCaller]] = (
            WeakKeyDictionary()
        )

    def find(self, api_key: PresentedKey | None, forwarded: Mapping[str, str]) -> KnownCaller | None:
        """Return what the key stands for now; None if that may change while the configuration does not.

        It may if the key expires, or if a surface vouches for its caller. Nor is anybody known who would be refused.
        `forwarded` are the headers that the caller's requests send on to providers.
        """
        gateway = self._gateway
        snapshot = gateway.snapshots.current
        if type(api_key) is not PresentedKey or snapshot is None:
            return None
        by_key = self._by_snapshot.get(snapshot)
        if by_key is None:
            by_key = self._by_snapshot[snapshot] = {}
        digest = api_key.digest(gateway.hasher)
        key = (digest, tuple(forwarded.items()))
        known = by_key.get(key)
        if known is None:
            account = snapshot.account(digest)
            if account is None or account.needs_check or account.is_shut:
                return None
            if len(by_key) >= _MOST_CALLERS:
                by_key.clear()
            known = by_key[key] = KnownCaller(
                snapshot, authenticate(gateway, snapshot, api_key), gateway.limit
            )
        return known


class DirectClient(Protocol[_E]):
    """Who sends direct requests: one for all requests of a route."""

    def replied(self, request: DirectRequest[_E], reply: WholeReply) -> None:
        """Send the reply to the client; the request has ended."""

    def streams(self, request: DirectRequest[_E], stream: DirectStream) -> None:
        """Send the stream to the client, and close it."""

    def go_on(self, request: DirectRequest[_E], rest: Coroutine[Any, Any, Reply]) -> None:
        """Run the rest of the request in a task, pass its exceptions to `failed`, and send its reply."""

    def left(self, request: DirectRequest[_E]) -> None:
        """Take note that the request has ended without a reply, because its client has left or this process stops."""


class DirectRequest(Handling, Generic[_E]):
    """One request of a known caller, which the client answers with `exchange`.

    It is the `ReplyListener` of its own request to the provider. Where something has to be waited for, or is not as
    in most requests, the rest is passed to the client's `go_on`, which runs it in a task: the stages are the same.
    """

    __slots__ = ("_attempt", "_client", "_known_route", "_pending", "_upstream", "exchange", "is_waiting")

    def __init__(self, gateway: Gateway, call: Call, client: DirectClient[_E], exchange: _E) -> None:
        # As Handling does, without its frame.
        self.gateway = gateway
        self.call = call
        self.meter: DirectMeter = DirectMeter(gateway, call)
        self.plan = None
        self.verdict = NOT_LIMITED
        self._client = client
        self.exchange = exchange
        self._attempt: Attempt | None = None
        self._pending: PendingReply | None = None
        # The reply, if it is a stream that is read without a task.
        self._upstream: ListenedReply | None = None
        # Whose deployments it is sent to, if they were found without a plan.
        self._known_route: KnownRoute | None = None
        # Whether the provider's connection is to call back.
        self.is_waiting = False

    def start(self, snapshot: Snapshot, known: KnownCaller, body: bytes) -> None:
        """Handle a request with this body, of less than LARGE_BODY bytes. Does not raise.

        `known` is what is known of its caller in this snapshot.
        """
        call = self.call
        try:
            # As `admitted` does, without its frame.
            account, meter = known.account, self.meter
            self.snapshot, self.account = snapshot, account
            meter.config_version = known.version
            meter.credential = known.name
            meter.tenant, meter.project = account.tenant, account.project
            if call.request_bytes < self.gateway.options.small_body:
                request, attribution = call.dialect.read(body, call)
                model = self.take(request, attribution)
            else:
                model = self.read(body)
            route = known.routes.get((model, self.request.endpoint)) or known.route(self, model)
            if (
                route is None
                or self.request.stateful_field is not None
                or call.cost_headers is not None
                or call.cache_directive is not None
            ):
                # Those of the head that repeats, and this body's own.
                call.headers = [*call.headers, (b"content-length", b"%d" % call.request_bytes)]
                self._go_on(route_and_answer(self, model))
                return
            self.route, self._known_route = route.route, route
            waiting = self.reserve(route.route, known.reserve)
            if waiting is None:
                self._send(route)
            else:
                self._go_on(answer_later(self, waiting))
        except Exception as error:  # noqa: BLE001 - answered like any other
            if self._attempt is not None:
                self._attempt.permit.release()
            self._go_on(_fail(error))

    def planned(self) -> Plan:
        known = self._known_route
        if self.plan is None and known is not None:
            self.plan = make_plan(
                self.gateway.selector,
                self.snapshot,
                self.account,
                known.route,
                self.request,
                self.call.headers,
                looked_up=known.looked_up,
            )
        return Handling.planned(self)

    def client_left(self) -> None:
        """Give up a request that waits for its provider."""
        if self.is_waiting:
            self.give_up()

    def give_up(self) -> None:
        """End a request that no task handles, because its client has left or this process stops."""
        self.is_waiting = False
        if self._pending is not None and not self.meter.reported:
            # Once the reply is reported, its connection may serve another request.
            self._pending.abandon()
        attempt = self._attempt
        if attempt is not None:
            attempt.permit.release()
            if attempt.uncommitted is not None:
                self.meter.uncommitted_usage = stated_alone(attempt.uncommitted.reader.usage)
                attempt.uncommitted = None
        self.failed(ClientDisconnected())
        self._client.left(self)

    def _go_on(self, rest: Coroutine[Any, Any, Reply]) -> None:
        self._client.go_on(self, rest)

    def _send(self, route: KnownRoute) -> None:
        gateway = self.gateway
        now = gateway.clock.monotonic()
        candidate = route.first(now)
        if candidate is None:
            self._go_on(answer(self))
            return
        attempt = self._attempt = make_attempt(self, candidate, now)
        request = self.request
        key = 2 * candidate.index + request.stream
        sender = route.senders.get(key) or self._sender(route, key, attempt)
        if sender is None:
            self._go_on(answer(self, attempt))
            return
        encode_body, send, known = sender
        try:
            body, ignored_fields = encode_body(request, candidate.deployment)
        except Exception:  # noqa: BLE001 - it fails again where it can be handled
            self._go_on(answer(self, attempt))
            return
        if ignored_fields:
            attempt.begin(ignored_fields, with_writes=True)
        elif known is not None:
            self.meter.attempt_known(known, candidate.deployment, now)
        else:
            self.meter.attempt(candidate.deployment, now, with_writes=True)
        # As `head_timeout` does, without its frame.
        timeout, first_content = attempt.deadline - now, candidate.timeouts.first_content
        if first_content is not None and first_content < timeout:
            timeout = first_content
        pending = self._pending = send(self.call.request_id, body, timeout, self)
        if pending is not None:
            self.is_waiting = True
        else:
            gateway.journal.write_waiting()
            # The next request prepares again: the pool forgets a provider whose connections were all closed.
            del route.senders[key]
            self._go_on(answer(self, attempt, gateway.upstream.send(attempt.encoded(), timeout)))

    def _sender(self, route: KnownRoute, key: int, attempt: Attempt) -> Sender | None:
        """Prepare requests to the deployment of an attempt; None if each of them has to be encoded anew."""
        if key in route.senders:
            return None
        deployment, sender = attempt.candidate.deployment, None
        encoder = None if deployment.oauth2 is not None else body_encoder(attempt.adapter)
        if encoder is not None:
            try:
                prepared = self.gateway.upstream.prepare(attempt.encoded())
            except Exception:  # noqa: BLE001 - as in `_send`; the next request may not fail
                return None
            if prepared is not None:
                sender = (encoder.encode_body, prepared.send, self._known_facts(deployment))
        route.senders[key] = sender
        return sender

    def _known_facts(self, deployment: Deployment) -> KnownFacts | None:
        """Return what requests like this one, to the same deployment, have in common."""
        call, meter = self.call, self.meter
        credential, model = meter.credential, meter.model
        if credential is None or model is None:
            return None
        return known_facts(
            KnownFacts(
                credential=credential,
                tenant=meter.tenant,
                project=meter.project,
                provider=deployment.provider_key,
                model=model,
                upstream_model=deployment.upstream_model,
                endpoint=call.path,
                method=call.method,
                stream=meter.stream,
                config_version=meter.config_version or 0,
            )
        )

    # --- as a ReplyListener ---------------------------------------------------------------------------

    def on_event(self, on_time: bool, /) -> None:
        pending, attempt, request = self._pending, self._attempt, self.request
        if pending is None or attempt is None:
            return
        self.is_waiting = False
        if request.stream:
            self._stream(pending, attempt, on_time=on_time)
            return
        is_taken = False
        try:
            if on_time and self.call.dialect.encode_reply is None:
                body = pending.whole(self.gateway.options.small_reply)
                if body is not None:
                    completion = attempt.adapter.decode(body, request)
                    usage = completion.usage
                    if completion.refusal is None and type(usage) is Usage:
                        is_taken = True
                        pending.release()
                        reply = attempt.answered(_OK, completion.body, usage)
                        self.finish(reply)
                        self._client.replied(self, reply)
                        return
        except Exception as error:  # noqa: BLE001 - answered like any other
            if is_taken:
                self._go_on(_fail(error))
                return
        # A reply that was not taken is read again, and what failed fails where it can be handled.
        self._go_on(answer(self, attempt, pending.reply(on_time=on_time)))

    def _stream(self, pending: PendingReply, attempt: Attempt, *, on_time: bool) -> None:
        """Read the beginning of a stream, as far as it has arrived; send it to the client once it has content."""
        upstream, begun = self._upstream, attempt.uncommitted
        if upstream is None:
            try:
                upstream = pending.streamed() if on_time else None
                if upstream is not None:
                    begun = attempt.uncommitted = attempt.open(upstream)
                    self._upstream = upstream
            except Exception:  # noqa: BLE001 - it fails again where it can be handled
                upstream = None
        if upstream is None or begun is None:
            self._go_on(answer(self, attempt, pending.reply(on_time=on_time)))
            return
        if not on_time:
            begun.timed_out()
        elif not (data := upstream.read_nowait()) or begun.take(data):
            if begun.reader.content_seen:
                attempt.uncommitted = None
                try:
                    stream = attempt.streamed(begun, upstream)
                    self.finish(stream)
                except Exception as error:  # noqa: BLE001 - answered like any other
                    upstream.close()
                    attempt.permit.release()
                    self._go_on(_fail(error))
                    return
                self._client.streams(self, stream)
                return
            if not begun.reader.done and upstream.listen(self, begun.time_left()):
                self.is_waiting = True
                return
        self._go_on(answer(self, attempt))


async def _fail(error: Exception) -> Reply:
    try:
        raise error
    finally:
        # Its traceback holds this frame, which must not hold it: only garbage collection would free the request.
        del error
