from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
{before}
from llm_gateway.infra import sqlalchemy_asyncio as ours
loaded = sorted(name for name in ("sqlalchemy.ext.asyncio", "sqlalchemy.orm") if name in sys.modules)
import sqlalchemy.ext.asyncio as theirs
same = [getattr(ours, name) is getattr(theirs, name) for name in ours.__all__]
print(json.dumps([loaded, same, hasattr(theirs, "AsyncSession")]))
"""


def outcome(before: str) -> object:
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_the_orm_is_not_imported_and_the_whole_package_still_can_be() -> None:
    assert outcome("") == [[], [True, True, True], True]


def test_a_package_that_is_imported_already_is_used() -> None:
    both = ["sqlalchemy.ext.asyncio", "sqlalchemy.orm"]
    assert outcome("import sqlalchemy.ext.asyncio") == [both, [True, True, True], True]
