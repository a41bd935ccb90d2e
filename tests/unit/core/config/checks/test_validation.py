"""Every fault of a whole catalog is found, and says of which row it is."""

from __future__ import annotations

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.checks.validation import catalog_faults
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.config.task_types import TaskType

KINDS = {"openai": Kind(name="openai")}


def test_every_fault_names_its_row() -> None:
    catalog = Catalog(
        version=1,
        providers=(
            Provider(
                id=1, provider_key="p", provider_type="openai", api_base="https://h", probe_interval=0.0
            ),
        ),
        credentials=(Credential(id=1, name="c", key_hash=b"x", cache=CacheRules(ttl=0)),),
        models=(Model(id=1, name="m"), Model(id=2, name="m", affinity="x")),
        task_types=(TaskType(id=1, name="t", models=()), TaskType(id=2, name="t", models=("m",))),
        faults=(Fault("model", "z", "weights", "weights must be an object"),),
    )
    starts = [str(fault).split(" must")[0] for fault in catalog_faults(catalog, KINDS)]
    assert starts == [
        "model 'z': weights",
        "provider 'p': probe_interval",
        "credential 'c': cache.ttl",
        "model 'm': name is used twice",
        "model 'm': affinity",
        "task type 't': name is used twice",
        "task type 't': models",
    ]
