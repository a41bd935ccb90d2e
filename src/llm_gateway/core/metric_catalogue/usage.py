"""Metrics of usage records on their way to the database."""

from __future__ import annotations

from llm_gateway.core.metric_catalogue.metric import Metric

JOURNAL_BACKLOG = Metric(
    name="llm_gateway_journal_backlog_bytes",
    type="gauge",
    unit="bytes",
    help="Usage records in the journal that are not yet in the database; grows while the database is down.",
)
JOURNAL_LIMIT = Metric(
    name="llm_gateway_journal_limit_bytes",
    type="gauge",
    unit="bytes",
    help="Most bytes that the backlog of the journal may have: JOURNAL_MAX_BYTES.",
)
JOURNAL_OLDEST = Metric(
    name="llm_gateway_journal_oldest_record_seconds",
    type="gauge",
    unit="seconds",
    help="Time since the end of the request that has waited longest for a database; 0 if none waits.",
)
USAGE_STORE_DOWN = Metric(
    name="llm_gateway_usage_store_down",
    type="gauge",
    unit="boolean",
    help="1 while usage records wait because no database takes them, neither the first one nor the backup; else 0.",
)
USAGE_BACKUP_IN_USE = Metric(
    name="llm_gateway_usage_backup_in_use",
    type="gauge",
    unit="boolean",
    help="1 while usage records go to the backup database, or wait there to be moved; else 0.",
)
SYNC_FAILURES = Metric(
    name="llm_gateway_journal_sync_failures_total",
    type="counter",
    unit="syncs",
    help="Times that the journal could not be synced to disk: a power cut may lose the records before it.",
)
JOURNAL_OTHERS = Metric(
    name="llm_gateway_journal_other_databases_bytes",
    type="gauge",
    unit="bytes",
    help="Usage records in DATA_DIR that wait until DB_URL names their database again.",
)
LOST_RECORDS = Metric(
    name="llm_gateway_journal_lost_records_total",
    type="counter",
    unit="records",
    help="Usage records that could not be written to the journal, for lack of space.",
)
REJECTED_RECORDS = Metric(
    name="llm_gateway_journal_rejected_records_total",
    type="counter",
    unit="records",
    help="Usage records that were set aside because they could not be read.",
)
