"""Sends replies: whole ones, and streams that are closed however they end."""

from __future__ import annotations

from llm_gateway.flow.request.reply import ByteStream, Reply, WholeReply
from llm_gateway.http.types import Exchange, Headers, Send


async def send_json(send: Send, body: bytes, request_id: str, *, status: int = 200) -> None:
    """Answer with JSON of ours."""
    headers: Headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_reply(send: Send, reply: Reply, request_id: str, exchange: Exchange | None) -> None:
    """Answer with what the pipeline gave."""
    if isinstance(reply, WholeReply):
        await _send_whole(send, reply, request_id)
        return
    try:
        await _send_stream(send, reply, request_id, exchange)
    finally:
        # Synchronous on purpose: an await here would not be finished when the client has left.
        reply.close()


def sent_at_once(exchange: Exchange | None, send: Send, reply: WholeReply, request_id: str) -> bool:
    """Send a whole reply in one step where the server can, past no middleware; tell whether that was done."""
    if exchange is None or send != exchange.send:
        return False
    headers = ((b"content-type", b"application/json"), (b"x-request-id", request_id.encode()), *reply.headers)
    return exchange.respond(reply.status, headers, reply.body)


async def _send_whole(send: Send, reply: WholeReply, request_id: str) -> None:
    headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    )
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(send: Send, reply: ByteStream, request_id: str, exchange: Exchange | None) -> None:
    headers = (
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        # Tells a buffering proxy in front of us (nginx) to pass every event on at once.
        (b"x-accel-buffering", b"no"),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    )
    # A middleware's own `send` is not passed by.
    direct = exchange if exchange is not None and send == exchange.send else None
    data, last = await reply.next()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": data, "more_body": not last})
        if last:
            return
        if direct is not None and (sink := direct.sink()) is not None:
            await reply.relay(sink)
        data, last = await reply.next()
