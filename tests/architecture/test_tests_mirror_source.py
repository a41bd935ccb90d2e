"""Each module of some size has tests under its own name, so that a reader of the module finds them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "llm_gateway"
# A module of at most this many lines may be tested through the modules that use it.
SHORT = 60
# The least share of longer modules that have a test file of their name.
LEAST_SHARE = 0.8
MODULES = sorted(
    path.relative_to(SOURCE)
    for path in SOURCE.rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py"}
)
LONGER = [path for path in MODULES if len((SOURCE / path).read_text().splitlines()) > SHORT]
TESTS = sorted(path.relative_to(ROOT / "tests") for path in ROOT.glob("tests/**/test_*.py"))
NAMES = Counter(path.stem for path in MODULES)

# Modules without a test file of their name, and what tests them instead.
TESTED_ELSEWHERE: dict[str, str] = {
    "app/operations/first_start.py": "contract/test_first_start.py",
    "cli/config_commands.py": "e2e/test_config_files.py",
    "flow/config/files/litellm_names.py": "unit/flow/config/files/test_litellm_reading.py",
    "core/metric_catalogue/processes.py": "e2e/test_metric_catalogue.py",
    "cli/billing_texts.py": "e2e/test_billing.py",
    "cli/usage_commands.py": "e2e/test_billing.py",
    "infra/database/usage/repricing.py": "contract/test_cost_repository.py",
    "wire/cost_files/bill.py": "unit/wire/cost_files/test_reading.py",
    "settings/client_apis.py": "unit/cli/test_settings.py",
    "settings/requests.py": "unit/cli/test_settings.py",
    "settings/serving.py": "unit/cli/test_settings.py",
    "settings/storage.py": "unit/cli/test_settings.py",
    "admin/usage/export.py": "e2e/test_billing.py",
    "app/asgi.py": "e2e/test_statuses_and_headers.py",
    "app/budgets.py": "e2e/test_budgets.py",
    "app/on_demand/console.py": "console/test_small_gateway.py",
    "console/services.py": "unit/console/test_frame.py",
    "app/on_demand/fastapi_app.py": "e2e/test_docs_and_cors.py",
    "app/operations/schema.py": "unit/app/operations/test_commands.py",
    "app/reporting.py": "e2e/test_observability.py",
    "app/routes.py": "e2e/test_statuses_and_headers.py",
    "app/storage.py": "e2e/test_database_down.py",
    "flow/config/rows/tenants.py": "contract/test_admin_accounts.py",
    "flow/explain/answer.py": "unit/flow/explain/test_explainer.py",
    "infra/upstream/socket_state.py": "contract/test_upstreams.py",
    "flow/request/commit.py": "unit/flow/request/test_attempt.py",
    "http/model_routes/delivery.py": "unit/http/model_routes/test_data_plane.py",
    "http/model_routes/streamed_response.py": "property/test_direct_streams.py",
    "flow/request/streaming/direct_stream.py": "property/test_direct_streams.py",
    "flow/routing/known_route.py": "property/test_direct_requests.py",
    "infra/upstream/http11/prepared.py": "contract/test_upstream_prepared.py",
    "flow/request/handling.py": "unit/flow/request/test_pipeline.py",
    "flow/ports/budgets.py": "property/test_budget_shares.py",
    "flow/ports/ledger.py": "contract/test_usage_store.py",
    "flow/ports/limits.py": "property/test_reservations.py",
    "flow/ports/upstream.py": "contract/test_upstreams.py",
    "flow/ports/usage.py": "contract/test_usage_repository.py",
    "infra/budgets/needs.py": "unit/infra/budgets/test_keeper.py",
    "infra/database/budgets/counting.py": "contract/test_budgets_posting.py",
    "infra/database/budgets/definitions.py": "contract/test_budgets_posting.py",
    "infra/database/budgets/notices.py": "contract/test_budgets_balances.py",
    "infra/database/facts/inserting.py": "contract/test_statements.py",
    "infra/database/facts/reading.py": "contract/test_usage_reading.py",
    "infra/database/usage/storing.py": "contract/test_usage_postings.py",
    "infra/upstream/aiohttp/connections.py": "contract/test_upstream_connections.py",
    "infra/upstream/aiohttp/errors.py": "contract/test_upstream_proxies.py",
    "infra/upstream/aiohttp/transport.py": "contract/test_upstreams.py",
    "infra/use_limits/redis_scripts.py": "contract/test_use_stores.py",
    "providers/base.py": "contract/test_adapters.py",
    "providers/plugin_api.py": "e2e/test_write_a_provider_kind.py",
}


def _is_tested_by(module: Path, test: Path) -> bool:
    """Tell whether `test` carries the module's name: `test_<module>`, `test_<package>_<module>`, and so on.

    A module whose name is not unique needs the package, too, in the name of the test or of its folder. In a
    folder of the package's name, a test may cover a part of the module: `test_<module>_<part>`.
    """
    name = test.stem.removeprefix("test_")
    packages, in_folder = module.parts[:-1], bool(module.parts[:-1]) and module.parts[-2] in test.parts[:-1]
    qualified = {"_".join((*packages[start:], module.stem)) for start in range(len(packages))}
    if name in qualified:
        return True
    if name == module.stem:
        return in_folder or NAMES[module.stem] == 1
    return in_folder and name.startswith(f"{module.stem}_")


COVERED = {module for module in LONGER if any(_is_tested_by(module, test) for test in TESTS)}


def test_a_module_has_a_test_of_its_name_or_a_reason() -> None:
    missing = [str(module) for module in LONGER if module not in COVERED]
    assert sorted(set(missing) - TESTED_ELSEWHERE.keys()) == []


def test_no_reason_is_out_of_date() -> None:
    needed = {str(module) for module in LONGER if module not in COVERED}
    assert sorted(TESTED_ELSEWHERE.keys() - needed) == [], (
        "these have a test of their name, are short, or are gone"
    )
    assert {suite for suite in TESTED_ELSEWHERE.values() if not (ROOT / "tests" / suite).exists()} == set()


def test_most_modules_have_a_test_of_their_name() -> None:
    share = len(COVERED) / len(LONGER)
    print(
        f"{len(COVERED)} of {len(LONGER)} modules over {SHORT} lines have a test of their name: {share:.0%}"
    )
    assert share >= LEAST_SHARE
