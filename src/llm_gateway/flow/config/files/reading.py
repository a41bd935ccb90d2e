"""Reads a configuration file in either format, which it recognises by the sections."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from llm_gateway.core.config.providers import Kind
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.gateway_reading import SECTIONS, read_gateway_file
from llm_gateway.flow.config.files.litellm_reading import LITELLM_SECTIONS, read_litellm_file
from llm_gateway.flow.config.files.nodes import InvalidConfigFile, MappingNode, read_yaml

_EXPECTED: Final = "a file has providers and models, or LiteLLM's model_list"


def read_config_file(
    data: bytes,
    kinds: Mapping[str, Kind],
    *,
    environ: Mapping[str, str],
    forbidden_variables: frozenset[str],
) -> FileContents:
    """Return what a file holds; raise InvalidConfigFile, whose message has a line for each problem.

    `environ` resolves what a LiteLLM file takes from the environment and is no secret. No provider may be sent the
    `forbidden_variables`, which are the gateway's own secrets.
    """
    root = read_yaml(data)
    if not isinstance(root, MappingNode) or not root.entries:
        raise InvalidConfigFile(f"line {root.line}: the file must hold sections; {_EXPECTED}")
    names = root.entries.keys()
    if not names & set(SECTIONS) and names & set(LITELLM_SECTIONS):
        return read_litellm_file(root, kinds, environ=environ, forbidden_variables=forbidden_variables)
    if not names & set(SECTIONS):
        name = next(iter(names))
        near = get_close_matches(name, [*SECTIONS, *LITELLM_SECTIONS], n=1, cutoff=0.75)
        meant = f"did you mean {near[0]}?" if near else _EXPECTED
        raise InvalidConfigFile(f"line {root.lines[name]}: {name[:100]!r} is unknown; {meant}")
    return read_gateway_file(root, forbidden_variables)
