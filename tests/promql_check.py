"""Checks PromQL against the catalogue of metrics: every metric and label of an expression must exist.

For rules, alerts and dashboards alike: `Checker(recording_rules).faults(expression)` returns what is wrong with one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import promql_parser as promql

from llm_gateway.core.metric_catalogue import CATALOGUE, Metric

# What Prometheus itself adds to every series that it scrapes.
TARGET = frozenset({"job", "instance"})
# Series that Prometheus writes itself.
_OWN = {
    "up": TARGET,
    "scrape_duration_seconds": TARGET,
    "scrape_samples_scraped": TARGET,
    "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
}
_OF_COUNTERS = frozenset({"rate", "increase", "irate", "resets"})
_OF_GAUGES = frozenset({"delta", "idelta", "deriv", "predict_linear"})
_SELECTS = ("topk", "bottomk", "limitk")
_SETS = ("and", "unless")
_VARIABLES = {"$__rate_interval": "5m", "$__interval": "5m", "$__range": "1h"}

Labels = frozenset[str]


class Checker:
    """Knows the metrics of the catalogue, those of recording rules, and their labels."""

    def __init__(
        self, recorded: Mapping[str, str] | None = None, catalogue: Iterable[Metric] = CATALOGUE
    ) -> None:
        """`recorded` has the expressions of recording rules by name; each may use those before it."""
        self._labels: dict[str, Labels] = dict(_OWN)
        self._counters: set[str] = set()
        self._bounds: dict[str, set[str]] = {}
        for metric in catalogue:
            self._add(metric)
        self.recorded_faults: list[str] = []
        for name, expression in (recorded or {}).items():
            labels, faults = self._look(expression)
            self._labels[name] = labels
            self.recorded_faults += [f"{name}: {fault}" for fault in faults]

    def _add(self, metric: Metric) -> None:
        labels = TARGET | frozenset(metric.labels)
        if metric.type != "histogram":
            self._labels[metric.name] = labels
            if metric.type == "counter":
                self._counters.add(metric.name)
            return
        for suffix in ("_bucket", "_count", "_sum"):
            name = metric.name + suffix
            self._labels[name] = labels | {"le"} if suffix == "_bucket" else labels
            self._counters.add(name)
        self._bounds[metric.name + "_bucket"] = {*map(str, metric.buckets), "+Inf"}

    def faults(self, expression: str) -> list[str]:
        """Return what is wrong with an expression, nothing if all of it exists."""
        return self._look(expression)[1]

    def labels(self, expression: str) -> Labels:
        """Return the labels that the result of an expression may have."""
        return self._look(expression)[0]

    def _look(self, expression: str) -> tuple[Labels, list[str]]:
        for variable, value in _VARIABLES.items():
            expression = expression.replace(variable, value)
        look = _Look(self._labels, self._counters, self._bounds)
        try:
            parsed = promql.parse(expression)
        except ValueError as error:
            return frozenset(), [f"no PromQL: {error}"]
        return look.labels(parsed) or frozenset(), look.faults


class _Look:
    """One walk through an expression: the labels of each part, and what is wrong."""

    def __init__(
        self, known: Mapping[str, Labels], counters: set[str], bounds: Mapping[str, set[str]]
    ) -> None:
        self._known = known
        self._counters = counters
        self._bounds = bounds
        self.faults: list[str] = []

    def labels(self, expr: promql.Expr) -> Labels | None:
        """Return the labels of a vector; None for a scalar."""
        if isinstance(expr, promql.VectorSelector):
            return self._selected(expr)
        if isinstance(expr, promql.MatrixSelector):
            return self._selected(expr.vector_selector)
        if isinstance(expr, promql.AggregateExpr):
            return self._aggregated(expr)
        if isinstance(expr, promql.BinaryExpr):
            return self._combined(expr)
        if isinstance(expr, promql.Call):
            return self._called(expr)
        if isinstance(expr, (promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
            return self.labels(expr.expr)
        return None

    def _selected(self, selector: promql.VectorSelector) -> Labels:
        name = selector.name or ""
        if name not in self._known:
            self.faults.append(f"there is no metric {name}")
            return frozenset()
        known = self._known[name]
        for matcher in selector.matchers.matchers:
            self._need({matcher.name}, known, name)
            if matcher.name == "le" and matcher.op == promql.MatchOp.Equal:
                self._check_bound(name, matcher.value)
        return known

    def _check_bound(self, name: str, bound: str) -> None:
        if name in self._bounds and bound not in self._bounds[name]:
            self.faults.append(f"{name} has no bucket {bound}")

    def _need(self, labels: Iterable[str], known: Labels, place: str) -> None:
        self.faults += [f"{place} has no label {label}" for label in sorted(set(labels) - known)]

    def _aggregated(self, expr: promql.AggregateExpr) -> Labels:
        inner = self.labels(expr.expr) or frozenset()
        modifier = expr.modifier
        named = frozenset(modifier.labels) if modifier is not None else frozenset()
        self._need(named, inner, expr.expr.prettify())
        if str(expr.op) in _SELECTS:
            return inner
        if modifier is not None and modifier.type == promql.AggModifierType.Without:
            return inner - named
        return named

    def _called(self, call: promql.Call) -> Labels | None:
        name = call.func.name
        arguments = [self.labels(argument) for argument in call.args]
        vectors = [labels for labels in arguments if labels is not None]
        for argument in call.args:
            if isinstance(argument, promql.MatrixSelector):
                self._check_type(name, argument.vector_selector.name or "")
        if name == "histogram_quantile":
            self._need({"le"}, vectors[0], call.prettify())
            return vectors[0] - {"le"}
        if name in {"vector", "time", "scalar"}:
            return frozenset() if name == "vector" else None
        if name in {"label_replace", "label_join"}:
            return vectors[0] | {str(call.args[1].val)}
        return vectors[0] if vectors else None

    def _check_type(self, function: str, name: str) -> None:
        if function in _OF_COUNTERS and name in self._known and name not in self._counters:
            self.faults.append(f"{function} of {name}, which is no counter")
        if function in _OF_GAUGES and name in self._counters:
            self.faults.append(f"{function} of {name}, which is a counter")

    def _combined(self, expr: promql.BinaryExpr) -> Labels | None:
        left, right = self.labels(expr.lhs), self.labels(expr.rhs)
        if left is None or right is None:
            return left if right is None else right
        modifier = expr.modifier
        operation = str(expr.op)
        matching = modifier.matching if modifier is not None else None
        named = frozenset(matching.labels) if matching is not None else frozenset()
        self._need(named, left | right, expr.prettify())
        if operation == "or":
            return left | right
        if operation in _SETS:
            return left
        many = modifier.card if modifier is not None else promql.VectorMatchCardinality.OneToOne
        extra = frozenset(modifier.group_labels or ()) if modifier is not None else frozenset()
        if many == promql.VectorMatchCardinality.ManyToOne:
            self._need(extra, right, expr.rhs.prettify())
            return left | extra
        if many == promql.VectorMatchCardinality.OneToMany:
            self._need(extra, left, expr.lhs.prettify())
            return right | extra
        if matching is None:
            if left != right and right and left:
                self.faults.append(f"sides with the labels {sorted(left)} and {sorted(right)} never match")
            return left
        return named if matching.type == promql.LabelModifierType.Include else left - named


def labels_in_template(text: str) -> set[str]:
    """Return the labels that a template of an annotation shows."""
    return set(re.findall(r"\$labels\.(\w+)", text))
