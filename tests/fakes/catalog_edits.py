"""Random edits of a catalog, good ones and bad ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import Timeouts
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate, StoredCredential
from llm_gateway.flow.config.rows.models import ModelUpdate, StoredModel
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.config.rows.task_types import StoredTaskType, TaskTypeUpdate
from tests.fakes.stores import Store

KEYS = st.sampled_from(["a", "b", "c"])
# Good and bad values of every sort, so that about half of the edits are refused.
PROVIDER = st.fixed_dictionaries(
    {},
    optional={
        "provider_key": KEYS,
        "provider_type": st.sampled_from(["openai", "plain", "nonsense"]),
        "api_base": st.sampled_from(["http://x", "https://y/v1", "ftp://x", ""]),
        "secret": st.sampled_from(
            [None, Secret("sk-1"), Secret("env:SET"), Secret("env:NOT_SET"), Secret("***")]
        ),
        "model_mapping": st.sampled_from([{}, {"m": "x"}, {"m*": "*"}, {"m": "*"}, {"": "x"}]),
        "weight": st.integers(-1, 3),
        "is_enabled": st.booleans(),
    },
)
CREDENTIAL = st.fixed_dictionaries(
    {},
    optional={
        "name": KEYS,
        "rate_limit": st.sampled_from([None, -1, 0, 5]),
        "allowed_models": st.sampled_from([None, (), ("m*",)]),
        "is_enabled": st.booleans(),
    },
)
MODEL = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "m", "m*"]),
        "strategy": st.sampled_from(["least_busy", "nonsense"]),
        "weights": st.dictionaries(KEYS, st.integers(-1, 3), max_size=2),
        "fallbacks": st.lists(KEYS, max_size=2).map(tuple),
        "timeouts": st.builds(Timeouts, idle=st.sampled_from([None, 0, 1.5])),
        "affinity": st.sampled_from([None, "user", "nonsense"]),
        "cache": st.sampled_from([None, CacheRules(), CacheRules(ttl=0)]),
    },
)
TASK_TYPE = st.fixed_dictionaries(
    {}, optional={"name": KEYS, "models": st.lists(KEYS, max_size=2).map(tuple)}
)
EDIT = st.one_of(
    st.tuples(st.just("create provider"), KEYS, PROVIDER),
    st.tuples(st.just("update provider"), KEYS, PROVIDER),
    st.tuples(st.just("delete provider"), KEYS, st.just({})),
    st.tuples(st.just("create model"), KEYS, MODEL),
    st.tuples(st.just("update model"), KEYS, MODEL),
    st.tuples(st.just("delete model"), KEYS, st.just({})),
    st.tuples(st.just("create task type"), KEYS, TASK_TYPE),
    st.tuples(st.just("update task type"), KEYS, TASK_TYPE),
    st.tuples(st.just("delete task type"), KEYS, st.just({})),
    st.tuples(st.just("create credential"), KEYS, CREDENTIAL),
    st.tuples(st.just("update credential"), st.integers(1, 4), CREDENTIAL),
    st.tuples(st.just("rotate credential"), st.integers(1, 4), st.just({})),
    st.tuples(st.just("delete credential"), st.integers(1, 4), st.just({})),
)


async def apply(store: Store, kind: str, ref: Any, fields: dict[str, Any]) -> None:
    editor = store.editor
    if kind.endswith(("model", "task type")):
        await apply_to_named(store, kind, ref, fields)
    elif kind == "create provider":
        whole = {"provider_type": "openai", "api_base": "http://x", "provider_key": ref, **fields}
        await editor.create(ProviderUpdate(**whole))
    elif kind == "update provider":
        await editor.update(ref, ProviderUpdate(**fields))
    elif kind == "delete provider":
        await editor.delete(StoredProvider, ref)
    elif kind == "create credential":
        await editor.create(CredentialUpdate(**{"name": "n", "key": Secret(f"sk-{ref}"), **fields}))
    elif kind == "update credential":
        await editor.update(ref, CredentialUpdate(**fields))
    elif kind == "rotate credential":
        await editor.rotate_credential(ref)
    else:
        await editor.delete(StoredCredential, ref)


async def apply_to_named(store: Store, kind: str, ref: Any, fields: dict[str, Any]) -> None:
    editor = store.editor
    verb, _, noun = kind.partition(" ")
    made: Any = ModelUpdate if noun == "model" else TaskTypeUpdate
    if verb == "create":
        needed = {"name": ref} if noun == "model" else {"name": ref, "models": ("m",)}
        await editor.create(made(**needed | fields))
    elif verb == "update":
        await editor.update(ref, made(**fields))
    else:
        await editor.delete(StoredModel if noun == "model" else StoredTaskType, ref)
