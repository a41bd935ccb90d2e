"""The commands that serve, `serve` and `demo`; they import nothing of the command line's framework."""

from __future__ import annotations

import gc

from llm_gateway.cli.running import reports_failures


@reports_failures
def serve() -> int:
    """Serve on HOST and PORT until SIGTERM or Ctrl-C."""
    # As in `processes.serve`, and before the imports that make most objects.
    gc.disable()
    from llm_gateway.cli.programs import GatewayProgram  # noqa: PLC0415
    from llm_gateway.cli.settings_loader import load_settings  # noqa: PLC0415
    from llm_gateway.server.processes.serve import serve as serve_program  # noqa: PLC0415

    settings = load_settings()
    return serve_program(settings, GatewayProgram(settings))


@reports_failures
def demo() -> int:
    """Serve a simulated provider, with its data in DATA_DIR/demo: a first chat without any API key."""
    gc.disable()
    from llm_gateway.cli.programs import DemoProgram, demo_settings  # noqa: PLC0415
    from llm_gateway.cli.settings_loader import load_settings  # noqa: PLC0415
    from llm_gateway.server.processes.serve import serve as serve_program  # noqa: PLC0415

    settings = demo_settings(load_settings())
    return serve_program(settings, DemoProgram(settings))
