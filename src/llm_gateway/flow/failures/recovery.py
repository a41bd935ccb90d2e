"""Decides what follows a failed attempt: which deployment to call next and when, or which error the client gets."""

from __future__ import annotations

from llm_gateway.core.config.models import Model
from llm_gateway.core.errors import BadRequest, GatewayError
from llm_gateway.core.ledger.records import NextStep
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.routing.retry import Failover, Failure, Retry, RetryPolicy, is_provider_failure
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.accounting.token_estimates import stated_alone
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway, Options
from llm_gateway.flow.routing.plan import Plan
from llm_gateway.flow.routing.selector import Candidate

_UNAUTHORIZED = 401
# A client waits for as long as so many attempts may take before the last one begins.
_PATIENCE = 2


class AttemptFailed(Exception):
    """One attempt failed: why, the error for the client if no other attempt succeeds, and a text for the log."""

    def __init__(self, failure: Failure, error: GatewayError, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.error = error
        self.detail = detail
        # What the provider stated before it failed.
        self.usage: Usage | None = None

    def state_usage(self, stated: Usage | StatedUsage | None) -> None:
        """Take what the provider stated: a prompt that was read may be billed."""
        self.usage = stated_alone(stated)


class UnsupportedField(Exception):
    """Nothing was sent, because the deployment's API cannot express the request."""

    def __init__(self, error: BadRequest) -> None:
        super().__init__(error.message)
        self.error = error


class Recovery:
    """The recovery of one request. It is created with the first failure, so most requests have none."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        plan: Plan,
        meter: Meter,
        candidate: Candidate,
        failed: AttemptFailed | UnsupportedField,
    ) -> None:
        """`failed` is the first failure, which is that of `candidate`."""
        self._gateway = gateway
        self._plan = plan
        self._meter = meter
        rules = plan.route.rules
        self._policy = policy_of(rules, gateway.options)
        self._retries = 0
        self._failed_over = False
        self._holds_budget = False
        # The last failed attempt, whether it is still to be recorded, and the error for the client if it stays the
        # last.
        self._ended: AttemptFailed | None = None
        self._is_unrecorded = False
        self._error: GatewayError = failed.error
        # Whether `_error` is that of a deployment which serves the model; "no such model" does not replace it.
        self._is_served = False
        self._turned: set[str] = set()
        timeout = rules.timeouts.total or rules.timeouts.first_content or gateway.options.llm_timeout
        self._until = call.started + _PATIENCE * timeout
        self.failed(candidate, failed)

    def failed(self, candidate: Candidate, failed: AttemptFailed | UnsupportedField) -> None:
        """Take note of another failure."""
        if isinstance(failed, UnsupportedField):
            self._plan.exclude(candidate)
            if not self._is_served:
                self._error, self._is_served = failed.error, True
            return
        # Without its traceback, whose frames refer to this object.
        self._ended, self._is_unrecorded = failed.with_traceback(None), True
        self._meter.uncommitted_usage = failed.usage
        if failed.failure.reason == "unserved":
            self._plan.unserved(candidate, self._gateway.clock.monotonic())
            if not self._is_served:
                self._error = failed.error
        else:
            self._error, self._is_served = failed.error, True
        self._plan.failed(candidate, self._ready_at(candidate, failed.failure))

    def attempt_over(self) -> None:
        """Return to the retry budget what the attempt held of it."""
        if self._holds_budget:
            self._holds_budget = False
            self._plan.budget.release()

    async def next_candidate(self) -> Candidate:
        """Return the next candidate, after any wait that is due; raise the error for the client if there is none.

        Call `attempt_over` when the attempt has ended, whichever way.
        """
        now = self._gateway.clock.monotonic()
        ended = self._ended
        most = self._gateway.options.max_attempts
        if most is not None and ended is not None and self._meter.attempts >= most:
            raise self._given_up(ended, "give_up")
        if ended is not None and (candidate := self._other_model(ended, now)) is not None:
            return candidate
        untried = self._plan.next(now)
        if untried is None:
            self._plan.widen(now, nobody_serves=not self._is_served)
            untried = self._plan.next(now)
        if not self._is_unrecorded and untried is not None:
            # Nothing was sent to the last candidate: this one takes its place.
            return untried
        if ended is None:
            raise self._client_error()
        next_retry = None if untried is not None else self._plan.next_retry(now)
        step = self._policy.decide(
            ended.failure,
            untried=untried is not None,
            ready_in=None if next_retry is None else next_retry[1],
            retries=self._retries,
            draw=self._gateway.selector.draw(),
        )
        if isinstance(step, Failover) and untried is not None:
            return self._fail_over(ended, untried, now)
        if isinstance(step, Retry) and next_retry is not None:
            return await self._retry(ended, next_retry[0], step.after, now)
        raise self._given_up(ended, "give_up")

    def _other_model(self, ended: AttemptFailed, now: float) -> Candidate | None:
        """Return a candidate of the fallback model for requests that this model refuses, if there is one."""
        about, rules = ended.failure.about, self._plan.route.rules
        if about is None or about in self._turned or self._plan.is_pinned:
            return None
        models = rules.context_fallbacks if about == "context_length" else rules.policy_fallbacks
        if not models:
            return None
        self._turned.add(about)
        self._plan.switch_to(models)
        candidate = self._plan.next(now)
        if candidate is not None:
            self._record(ended, "fallback", is_provider_failure=False)
        return candidate

    def _fail_over(self, ended: AttemptFailed, candidate: Candidate, now: float) -> Candidate:
        if ended.failure.reason == "unserved":
            # Each deployment is asked once, and then remembered: no outage multiplies these.
            free = True
        else:
            free = not self._failed_over and candidate.breaker.closed
            self._failed_over = True
        if now > self._until:
            raise self._given_up(ended, "give_up")
        if not free and not self._take_from_budget(now):
            raise self._given_up(ended, "over_budget")
        same = candidate.route.model == self._plan.route.model
        self._record(ended, "failover" if same else "fallback")
        return candidate

    async def _retry(self, ended: AttemptFailed, candidate: Candidate, after: float, now: float) -> Candidate:
        if now + after > self._until:
            raise self._given_up(ended, "give_up")
        if not self._take_from_budget(now):
            raise self._given_up(ended, "over_budget")
        self._retries += 1
        self._record(ended, "retry")
        try:
            await self._gateway.sleep(after)
        except BaseException:
            self.attempt_over()
            raise
        if not self._plan.allows(candidate, self._gateway.clock.monotonic()):
            # It was found to be down during the wait.
            self.attempt_over()
            raise self._client_error()
        return candidate

    def _take_from_budget(self, now: float) -> bool:
        in_flight = sum(candidate.state.in_flight for candidate in self._plan.candidate_set.candidates)
        # The budget is a share of the attempts in flight; this request's own, which has just ended, counts as well.
        self._holds_budget = self._plan.budget.acquire(now, in_flight + 1)
        return self._holds_budget

    def _given_up(self, ended: AttemptFailed, next_step: NextStep) -> GatewayError:
        is_told = ended.failure.reason == "too_large" or is_provider_failure(ended.failure)
        self._record(ended, next_step, is_provider_failure=is_told)
        return self._client_error()

    def _record(self, ended: AttemptFailed, next_step: NextStep, *, is_provider_failure: bool = True) -> None:
        """Record the failed attempt, once."""
        if self._is_unrecorded:
            self._is_unrecorded = False
            self._meter.attempt_failed(
                ended.failure,
                ended.detail,
                next_step,
                usage=ended.usage,
                is_provider_failure=is_provider_failure,
            )

    def _client_error(self) -> GatewayError:
        error = self._error
        attempts = self._meter.attempts
        if attempts:
            error.headers += ((b"x-llm-gateway-attempts", b"%d" % attempts),)
        return error

    def _ready_at(self, candidate: Candidate, failure: Failure) -> float | None:
        """Return when it may be called again; None = never, because it would answer the same."""
        renewable = candidate.deployment.oauth2 is not None
        refused = failure.reason == "account" or (failure.status == _UNAUTHORIZED and not renewable)
        if refused or not is_provider_failure(failure):
            return None
        return self._gateway.clock.monotonic() + (failure.retry_after or 0.0)


def policy_of(rules: Model, options: Options) -> RetryPolicy:
    """Return a model's retry policy: its own rules, and the settings for what they leave open."""
    retry = rules.retry

    def chosen(own: float | None, setting: float) -> float:
        return setting if own is None else own

    return RetryPolicy(
        max_retries=options.max_retries if retry.max_retries is None else retry.max_retries,
        initial_backoff=chosen(retry.initial_backoff_ms, options.initial_backoff_ms) / 1000,
        max_backoff=chosen(retry.max_backoff_ms, options.max_backoff_ms) / 1000,
        factor=chosen(retry.backoff_factor, options.backoff_factor),
        jitter=chosen(retry.jitter, options.jitter),
        retry_cut=retry.retry_cut,
    )
