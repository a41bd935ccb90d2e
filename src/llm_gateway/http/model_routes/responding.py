"""Sends replies: whole ones and streams. Streams are always closed."""

from __future__ import annotations

from llm_gateway.flow.ports.dialect import Dialect, Headers
from llm_gateway.flow.request.reply import ByteStream, Reply, WholeReply
from llm_gateway.http.errors import as_gateway_error, end_stream
from llm_gateway.http.types import Exchange, Send

_STREAM_HEADERS: Headers = (
    (b"cache-control", b"no-cache"),
    # Tells a buffering proxy (nginx) in front of the gateway to pass events on immediately.
    (b"x-accel-buffering", b"no"),
)


async def send_json(send: Send, body: bytes, request_id: str, *, status: int = 200) -> None:
    """Send a JSON response of the gateway itself."""
    headers: Headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_reply(
    send: Send, reply: Reply, dialect: Dialect, request_id: str, exchange: Exchange | None
) -> None:
    """Send a reply of the pipeline. Raises only if the response has not begun."""
    if isinstance(reply, WholeReply):
        await _send_whole(send, reply, dialect, request_id)
        return
    try:
        await _send_stream(send, reply, dialect, request_id, exchange)
    finally:
        # Synchronous on purpose: an await here would not be finished when the client has left.
        reply.close()


def sent_at_once(
    exchange: Exchange | None, send: Send, reply: WholeReply, dialect: Dialect, request_id: str
) -> bool:
    """Send a whole reply in one step where the server can and no middleware wraps `send`; return whether it did."""
    if exchange is None or send != exchange.send:
        return False
    headers = (*dialect.reply_headers, (b"x-request-id", request_id.encode()), *reply.headers)
    return exchange.respond(reply.status, headers, reply.body)


def stream_headers(dialect: Dialect, reply: ByteStream, request_id: str) -> Headers:
    """Return the headers of the response to a request that a stream answers."""
    return (
        *dialect.stream_headers,
        *_STREAM_HEADERS,
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    )


async def _send_whole(send: Send, reply: WholeReply, dialect: Dialect, request_id: str) -> None:
    headers = (
        *dialect.reply_headers,
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    )
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(
    send: Send, reply: ByteStream, dialect: Dialect, request_id: str, exchange: Exchange | None
) -> None:
    try:
        data, last = await reply.next()
    except Exception as fault:  # noqa: BLE001 - the usage record must match the response
        error = as_gateway_error(fault, request_id)
        await reply.fail(error, begun=False)
        raise error from None
    headers = stream_headers(dialect, reply, request_id)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _send_on(send, reply, request_id, exchange, data, last=last)


async def send_rest(
    send: Send, reply: ByteStream, request_id: str, exchange: Exchange, fault: Exception | None
) -> None:
    """Send the rest of a stream whose response has begun: its next bytes, or the end that a fault leads to."""
    try:
        if fault is not None:
            await end_stream(send, reply, fault, request_id)
            return
        try:
            data, last = await reply.next()
        except Exception as error:  # noqa: BLE001 - as in `_send_on`
            await end_stream(send, reply, error, request_id)
            return
        await _send_on(send, reply, request_id, exchange, data, last=last)
    finally:
        reply.close()


async def _send_on(
    send: Send, reply: ByteStream, request_id: str, exchange: Exchange | None, data: bytes, *, last: bool
) -> None:
    """Send these bytes, and what follows them."""
    # Where a middleware wraps `send`, everything goes through it.
    direct = exchange if exchange is not None and send == exchange.send else None
    while True:
        await send({"type": "http.response.body", "body": data, "more_body": not last})
        if last:
            return
        try:
            if direct is not None and (sink := direct.sink()) is not None:
                await reply.relay(sink)
            data, last = await reply.next()
        except Exception as fault:  # noqa: BLE001 - the client must not take the stream for complete
            await end_stream(send, reply, fault, request_id)
            return
