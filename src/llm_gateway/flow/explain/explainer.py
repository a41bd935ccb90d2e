"""Explains how a request would be routed: plans it like a live request, on a copy of the routing state."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.endpoints import ENDPOINTS, EndpointName
from llm_gateway.core.errors import BadRequest, GatewayError, NotFound, Unauthenticated
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import RetryPolicy
from llm_gateway.flow.explain.answer import (
    EffectiveRetries,
    EffectiveTimeouts,
    ExpectedError,
    ExplainedCandidate,
    ExplainedRoute,
    Explanation,
    OmittedProvider,
    PlannedAttempt,
    Question,
    Reason,
    Role,
)
from llm_gateway.flow.explain.prices import shown_prices
from llm_gateway.flow.failures.recovery import policy_of
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.request.admission import authorise, current_snapshot, refuse_disabled_owner
from llm_gateway.flow.request.handling import strip_prefix
from llm_gateway.flow.routing.plan import affinity_of, fallback_route, find_route, make_plan, task_routes
from llm_gateway.flow.routing.selector import Candidate, Selector

# Thousands of providers may not map a model: this many of them are listed.
_UNMAPPED_LIMIT = 100


def explain(gateway: Gateway, question: Question) -> Explanation:
    """Explain the route of a request.

    Raise NotFound for an unknown credential or task type, BadRequest for a question without a model, and Unavailable
    when no configuration is loaded.
    """
    snapshot = current_snapshot(gateway, admitted=True)
    account = _account(snapshot, question.credential)
    return _Explainer(gateway, snapshot, account, question).explanation()


def explain_route(gateway: Gateway, snapshot: Snapshot, model: str) -> ExplainedRoute:
    """Explain the route that a model has in `snapshot`, which need not be the one in force."""
    question = Question(model=model, endpoint=main_endpoint(snapshot, model))
    return _Explainer(gateway, snapshot, snapshot.anonymous, question).route(model, "asked")


def main_endpoint(snapshot: Snapshot, model: str) -> EndpointName:
    """Return the first endpoint that a model is served at: that of chats, unless it has none."""
    route = snapshot.route(model)
    served = (name for name in ENDPOINTS if route is not None and route.answering(name).deployments)
    return next(served, "chat/completions")


def _account(snapshot: Snapshot, wanted: int | str | None) -> Principal:
    if wanted is None:
        return snapshot.anonymous
    for account in snapshot.accounts.values():
        if wanted in {account.credential.id, account.credential.name}:
            return account
    raise NotFound(f"There is no credential {wanted!r}.")


def _effective_retries(policy: RetryPolicy, in_flight: int) -> EffectiveRetries:
    return EffectiveRetries(
        max_retries=policy.max_retries,
        initial_backoff_ms=policy.initial_backoff * 1000,
        max_backoff_ms=policy.max_backoff * 1000,
        backoff_factor=policy.factor,
        jitter=policy.jitter,
        retry_cut=policy.retry_cut,
        in_flight=in_flight,
    )


class _Explainer:
    """Answers one question."""

    def __init__(self, gateway: Gateway, snapshot: Snapshot, account: Principal, question: Question) -> None:
        self._options: Options = gateway.options
        self._snapshot = snapshot
        self._account = account
        self._question = question
        # A copy, so that live requests are not affected.
        self._selector: Selector = gateway.selector.copy()
        self._now = gateway.clock.monotonic()
        # As a request says when it came.
        self._created = gateway.clock.unix_us() // 1_000_000
        self._headers = [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in question.headers.items()
        ]
        values = {"user": question.user, "prompt_cache_key": question.prompt_cache_key}
        self._fields = {
            name: msgspec.Raw(msgspec.json.encode(value))
            for name, value in values.items()
            if value is not None
        }

    @property
    def _created_us(self) -> int:
        return self._created * 1_000_000

    def explanation(self) -> Explanation:
        question, credential = self._question, self._account.credential
        models, fallbacks = self._models()
        model = models[0] if models else None
        refused, order, in_flight = None, tuple[PlannedAttempt, ...](), 0
        try:
            self._admit(credential)
            route = self._requested_route(model)
            order, in_flight = self._order(route, fallbacks)
        except GatewayError as error:
            refused = ExpectedError(status=error.status, code=error.code, message=error.message)
            route = None
        named = self._snapshot.route(model) if model is not None else None
        rules = (route or named or Route(model or "", (), explicit=False)).rules
        timeouts, limit = rules.timeouts, self._options.llm_timeout
        return Explanation(
            config_version=self._snapshot.version,
            model=model,
            endpoint=question.endpoint,
            credential=None if question.credential is None else credential.name,
            task_models=None if question.task_type is None else tuple(models),
            refused=refused,
            routes=self._routes(model, rules.fallbacks if fallbacks is None else fallbacks),
            order=order,
            is_order_drawn=rules.strategy == "weighted_random",
            retries=_effective_retries(policy_of(rules, self._options), in_flight),
            timeouts=EffectiveTimeouts(
                connect=timeouts.connect,
                first_content=timeouts.first_content or limit,
                idle=timeouts.idle or limit,
                total=timeouts.total or limit,
            ),
            rate_limit=credential.rate_limit,
        )

    def _models(self) -> tuple[list[str], tuple[str, ...] | None]:
        """Return the requested models, and the fallbacks that replace those of the first model's rules, if any."""
        question = self._question
        if question.task_type is None:
            if question.model is None:
                raise BadRequest("Specify a model or a task_type.", param="model")
            return [strip_prefix(question.model, self._options.provider_suffix)], None
        if question.task_type not in self._snapshot.task_types:
            raise NotFound(f"There is no task type {question.task_type!r}.")
        routes = task_routes(
            self._snapshot, self._account, question.task_type, question.endpoint, self._created_us
        )
        models = [route.model for route in routes]
        return models, tuple(models[1:])

    def _admit(self, credential: Credential) -> None:
        if not credential.is_enabled:
            raise Unauthenticated("The credential is disabled.")
        if credential.expires_at is not None and credential.expires_at <= self._created_us:
            raise Unauthenticated("The credential has expired.", code="expired_api_key")
        refuse_disabled_owner(self._account)

    def _requested_route(self, model: str | None) -> Route:
        if model is None:
            raise NotFound(
                "No model of the task type is available to this credential.", code="model_not_found"
            )
        authorise(self._account, model)
        return find_route(self._snapshot, model)

    def _order(
        self, route: Route, fallbacks: tuple[str, ...] | None
    ) -> tuple[tuple[PlannedAttempt, ...], int]:
        request = ModelRequest(
            endpoint=self._question.endpoint,
            model=route.model,
            stream=False,
            wants_usage=False,
            fields=self._fields,
            created=self._created,
        )
        plan = make_plan(
            self._selector, self._snapshot, self._account, route, request, self._headers, fallbacks=fallbacks
        )
        attempts = []
        candidate: Candidate | None = plan.first(self._now)
        while candidate is not None:
            deployment = candidate.deployment
            attempts.append(
                PlannedAttempt(
                    model=candidate.route.model,
                    provider=deployment.provider_key,
                    upstream_model=deployment.upstream_model,
                )
            )
            plan.exclude(candidate)
            candidate = plan.next(self._now)
        return tuple(attempts), plan.budget.in_use

    def _routes(self, model: str | None, fallbacks: tuple[str, ...]) -> tuple[ExplainedRoute, ...]:
        if model is None:
            return ()
        rules = self._snapshot.models.get(model)
        named: list[tuple[str, Role]] = [(model, "asked"), *((name, "fallback") for name in fallbacks)]
        if rules is not None:
            named += [(name, "context_fallback") for name in rules.context_fallbacks]
            named += [(name, "policy_fallback") for name in rules.policy_fallbacks]
        return tuple(self.route(name, role) for name, role in named)

    def route(self, model: str, role: Role) -> ExplainedRoute:
        endpoint = self._question.endpoint
        route = self._snapshot.route(model) or Route(
            model, (), explicit=False, rules=self._snapshot.models.get(model)
        )
        rules = route.rules
        able = route.answering(endpoint)
        whole = able.priced(self._created_us) if self._account.requires_pricing else able
        unserved = self._selector.unserved
        _, candidate_set = self._selector.look_up(
            unserved.served(whole, endpoint, self._snapshot, self._now), self._snapshot
        )
        known = {candidate.deployment.key for candidate in candidate_set.candidates}
        absences = unserved.absences(whole, endpoint, self._snapshot, self._now)
        panic = candidate_set.in_panic(self._now)
        left_out, not_mapped = self._omitted(model, rules.weights)
        left_out += [
            OmittedProvider(provider=candidate.deployment.provider_key, reason="breaker_open")
            for candidate in candidate_set.candidates
            if not panic and not candidate.breaker.allows(self._now)
        ]
        left_out += [
            OmittedProvider(provider=deployment.provider_key, reason=absences[deployment.key])
            for deployment in whole.deployments
            if deployment.key not in known and deployment.key in absences
        ]
        left_out += [
            OmittedProvider(provider=deployment.provider_key, reason="not_priced")
            for deployment in able.deployments
            if deployment.key not in whole.keys
        ]
        common = None if rules.affinity is None else affinity_of(rules.affinity, self._fields, self._headers)
        return ExplainedRoute(
            model=model,
            role=role,
            passed_over=self._skip_reason(model),
            strategy=rules.strategy,
            affinity=rules.affinity,
            has_affinity=common is not None,
            panic=panic,
            candidates=tuple(self._explained(candidate) for candidate in candidate_set.candidates),
            left_out=tuple(left_out),
            not_mapped=not_mapped,
        )

    def _skip_reason(self, model: str) -> str | None:
        if model not in self._account.models:
            return "the credential may not use this model"
        endpoint = self._question.endpoint
        if fallback_route(self._snapshot, self._account, model, endpoint, self._created_us) is None:
            return "no available provider supports this model and endpoint"
        return None

    def _omitted(self, model: str, weights: Mapping[str, int]) -> tuple[list[OmittedProvider], int]:
        found: list[OmittedProvider] = []
        unmapped: list[OmittedProvider] = []
        providers = [(each, self._reason(each, weights)) for each in self._snapshot.providers]
        providers += [(each, "disabled") for each in self._snapshot.disabled]
        providers += [(each, "faulty") for each in self._snapshot.left_out]
        count = 0
        for serving, reason in providers:
            if serving.upstream_model(model) is None:
                count += 1
                if len(unmapped) < _UNMAPPED_LIMIT:
                    unmapped.append(
                        OmittedProvider(provider=serving.provider.provider_key, reason="not_mapped")
                    )
            elif reason is not None:
                found.append(OmittedProvider(provider=serving.provider.provider_key, reason=reason))
        return found + unmapped, count

    def _reason(self, serving: EnabledProvider, weights: Mapping[str, int]) -> Reason | None:
        provider = serving.provider
        if weights.get(provider.provider_key, provider.weight) <= 0:
            return "drained"
        return None if self._question.endpoint in serving.kind.endpoints else "endpoint"

    def _explained(self, candidate: Candidate) -> ExplainedCandidate:
        deployment = candidate.deployment
        return ExplainedCandidate(
            provider=deployment.provider_key,
            kind=deployment.kind,
            upstream_model=deployment.upstream_model,
            weight=deployment.weight,
            breaker=candidate.breaker.state(self._now),
            trial_in=round(candidate.breaker.trial_in(self._now), 3),
            in_flight=candidate.state.in_flight,
            prices=shown_prices(self._snapshot, deployment.prices, self._created_us),
        )
