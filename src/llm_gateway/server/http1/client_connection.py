"""What a client's connection has beside the reading of requests: its transport, its addresses and its flow control.

Thousands of them are open at once. So they have slots, and nothing that only few of them need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from llm_gateway.server.http1.send_watch import SendWatch
from llm_gateway.server.http1.state import GatewayServerState
from llm_gateway.sockets.batched_transport import batched


class FlowControl:
    """Whether a connection is read, and whether it has room for what is written to it."""

    __slots__ = ("_has_room", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        # Only while something waits for room.
        self._has_room: asyncio.Event | None = None

    async def drain(self) -> None:
        """Wait until there is room for more."""
        if self.write_paused:
            if self._has_room is None:
                self._has_room = asyncio.Event()
            await self._has_room.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        has_room, self._has_room = self._has_room, None
        if has_room is not None:
            has_room.set()


class ClientConnection(asyncio.Protocol):
    """The connection of one client, in the set of the server's connections while it is open."""

    __slots__ = (
        "_send_watch", "app", "app_state", "asgi_version", "client", "flow", "limits", "loop", "new_request_id",
        "root_path", "scheme", "server", "server_state", "transport",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: GatewayServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.app = config.loaded_app
        self.app_state = app_state
        self.asgi_version = config.asgi_version
        self.root_path = config.root_path
        self.server_state = server_state
        self.limits = server_state.limits
        self.new_request_id = server_state.new_request_id
        self.loop = loop or asyncio.get_event_loop()
        # Until the connection is made.
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.flow: FlowControl = None  # type: ignore[assignment]
        # Host and port of both ends.
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme = "http"
        # Only once the client was slow, or is to be let go.
        self._send_watch: SendWatch | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        connection = self.transport = batched(transport, self.server_state.batch)
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # there is one kind
        self.flow = FlowControl(connection)
        self.server, self.client = get_local_addr(connection), get_remote_addr(connection)
        if is_ssl(connection):
            self.scheme = "https"

    def leave(self) -> None:
        """Leave the server's connections: this one is lost."""
        self.server_state.connections.discard(self)
        if self._send_watch is not None:
            self._send_watch.stop()

    def pause_writing(self) -> None:
        """Stop the application from sending; give the client up if it reads nothing."""
        self.flow.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self._send_watch is not None and not self.transport.is_closing():
            self._send_watch.stop()

    def close(self) -> None:
        """Close the connection once the client has taken what was written."""
        self.transport.close()
        self._watch()

    def start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a part of a request in a task that the server waits for when it stops."""
        task = self.loop.create_task(work)
        tasks = self.server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _watch(self) -> None:
        """Reset the connection if the client takes nothing of what waits."""
        if self._send_watch is None:
            self._send_watch = SendWatch(self.loop, self.transport, self.limits.send_timeout)
        self._send_watch.start()
