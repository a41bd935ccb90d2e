"""Puts the logging of a test process back as it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from llm_gateway.infra.logs.standard_streams import standard_streams


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo, at the end, what `set_up_logging` changes for the whole process."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    was_json = standard_streams._is_json
    handlers, level, uvicorn_level = root.handlers[:], root.level, uvicorn.level
    logging.captureWarnings(False)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        standard_streams._is_json = was_json
        logger.remove()
        logger.configure(patcher=lambda record: None)
        logger.add(sys.__stderr__ or sys.stderr)
        root.handlers[:] = handlers
        root.setLevel(level)
        uvicorn.setLevel(uvicorn_level)
