"""Turns dashboards into Grafana's JSON: ids, grid, data source and colours are the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models

from monitoring.grid import laid_out
from monitoring.model import Dashboard, Panel, Query, Row, Variable

_SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG: Final = "llm-gateway"
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Grafana shows one of these per series; the last value is what people read.
_CALCULATIONS: Final = ["mean", "max", "lastNotNull"]


def dashboard_json(source: Dashboard) -> str:
    """Return the file of a dashboard."""
    built = _builder(source).build()
    fields: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _builder(source: Dashboard) -> dashboard.Dashboard:
    builder = (
        dashboard.Dashboard(source.title)
        .uid(source.uid)
        .description(source.description)
        .tags([_TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("Dashboards of the gateway")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in source.variables:
        builder = builder.with_variable(_variable(variable))
    for panel in _laid_out(source):
        builder = (
            builder.with_panel(panel) if not isinstance(panel, dashboard.Row) else builder.with_row(panel)
        )
    return builder


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(_SOURCE)
        .query(f"label_values({variable.metric.name}, {variable.name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # A series without the label is shown as well.
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _laid_out(source: Dashboard) -> Iterator[Any]:
    for number, (part, place) in enumerate(laid_out(source), 1):
        position = models.GridPos(h=place.height, w=place.width, x=place.left, y=place.top)
        built = dashboard.Row(part.title) if isinstance(part, Row) else _panel(part)
        yield built.id(number).grid_pos(position)


def _panel(panel: Panel) -> Any:  # noqa: ANN401 - one of several builders without a common type
    builder = _shaped(panel).title(panel.title).description(panel.description).datasource(_SOURCE)
    builder = builder.unit(panel.unit).no_value(panel.no_value).thresholds(_thresholds(panel))
    for letter, query in zip(_LETTERS, panel.queries, strict=False):
        target = _target(letter, query)
        # Bars show the end of the time range only: nothing before it is asked for.
        builder = builder.with_target(target.instant() if panel.shape == "bars" else target.range())
    return builder


def _shaped(panel: Panel) -> Any:  # noqa: ANN401 - as above
    if panel.shape == "number":
        return (
            stat.Panel()
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(kinds.BigValueColorMode.VALUE)
            .graph_mode(kinds.BigValueGraphMode.AREA)
        )
    if panel.shape == "bars":
        return (
            bargauge.Panel()
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .orientation(kinds.VizOrientation.HORIZONTAL)
            .display_mode(kinds.BarGaugeDisplayMode.BASIC)
            .min(0)
        )
    lines = (
        timeseries.Panel()
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.TABLE)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(_CALCULATIONS)
        )
        .tooltip(
            common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
        )
        .line_width(1)
        .axis_soft_min(0)
    )
    if panel.shape == "stack":
        stacked = common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A")
        return lines.stacking(stacked).fill_opacity(30)
    return lines.fill_opacity(5)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    if panel.warn_from is not None:
        steps.append(models.Threshold(value=panel.warn_from, color="orange"))
    if panel.alarm_from is not None:
        steps.append(models.Threshold(value=panel.alarm_from, color="red"))
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _target(letter: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery().ref_id(letter).datasource(_SOURCE).expr(query.expr).legend_format(query.legend)
    )
