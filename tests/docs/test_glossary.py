"""The glossary defines the word of every public class."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "llm_gateway"
PAGE = (ROOT / "docs/glossary.md").read_text()
TREES = {path.relative_to(SOURCE): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
CLASSES = [
    (path, node) for path, tree in TREES.items() for node in tree.body if isinstance(node, ast.ClassDef)
]
BASES = {node.name: [re.split(r"[.\[]", ast.unparse(base))[-1] for base in node.bases] for _, node in CLASSES}
# Classes that mirror JSON of OpenAI or of a provider, which defines the words.
WIRE = re.compile(
    r"^(wire/|providers/.*\bwire\.py|providers/translating/|providers/openai/(usage|responses)\.py)"
)


def _ancestors(name: str) -> set[str]:
    bases = BASES.get(name, [])
    return {*bases, *(ancestor for base in bases if base != name for ancestor in _ancestors(base))}


def _words(name: str) -> list[str]:
    """Return the words of a class name or of a term: `SSEReader` has "sse" and "reader"."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]+|[a-z0-9]+", name)]


def _public_classes() -> list[str]:
    """Return classes that are ours to name: exceptions and schemas of JSON are documented where they are used."""
    return [
        node.name
        for path, node in CLASSES
        if not node.name.startswith("_")
        and not any(part.startswith("_") for part in path.parts)
        and not WIRE.match(path.as_posix())
        and not any(re.search(r"Error$|Exception$|^BaseModel$", base) for base in _ancestors(node.name))
    ]


def _is_defined(name: str, terms: set[str]) -> bool:
    words = _words(name)
    endings = [" ".join(words[start:]) for start in range(len(words))]
    return name in CLASS_NAMES or any(_singular(ending) in terms for ending in endings)


def _singular(term: str) -> str:
    return re.sub(r"ies$", "y", term).removesuffix("s")


TERMS = {_singular(" ".join(_words(term))) for term in re.findall(r"\*\*([^*]+)\*\*", PAGE)}
CLASS_NAMES = {form for name in re.findall(r"`([A-Z]\w+)`", PAGE) for form in (name, name.removesuffix("s"))}


def test_the_name_of_every_public_class_ends_in_a_term_of_the_glossary() -> None:
    missing = sorted({name for name in _public_classes() if not _is_defined(name, TERMS)})
    assert missing == [], "docs/glossary.md defines no term that these class names end in"


def test_every_class_that_the_glossary_names_exists() -> None:
    named = set(re.findall(r"`([A-Z][a-z]\w*[a-z]\w*)`", PAGE))
    assert named - BASES.keys() == set()


def test_no_term_is_defined_twice() -> None:
    defined = re.findall(r"^- ((?:\*\*[^*]+\*\*(?:, | and )?)+):", PAGE, re.MULTILINE)
    terms = [term.lower() for entry in defined for term in re.findall(r"\*\*([^*]+)\*\*", entry)]
    assert len(terms) > 40
    assert sorted(terms) == sorted(set(terms))
