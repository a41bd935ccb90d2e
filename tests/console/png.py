"""Makes the pictures of pages small: 256 colours, which text and lines on plain areas have no more of."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any, Final

from playwright.async_api import BrowserContext

# In the browser, which reads pixels fast. Colours beyond the 256 most used become the nearest of those.
_QUANTISE: Final = """async (picture) => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const pixels = drawing.getImageData(0, 0, image.width, image.height).data;
  const counts = new Map();
  const colours = new Uint32Array(image.width * image.height);
  for (let at = 0; at < colours.length; at++) {
    const colour = (pixels[4 * at] << 16) | (pixels[4 * at + 1] << 8) | pixels[4 * at + 2];
    colours[at] = colour;
    counts.set(colour, (counts.get(colour) || 0) + 1);
  }
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([colour]) => colour);
  const places = new Map(palette.map((colour, place) => [colour, place]));
  const distance = (a, b) => [16, 8, 0].reduce(
    (sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);
  for (const colour of counts.keys()) {
    if (places.has(colour)) continue;
    let best = 0;
    palette.forEach((other, place) => {
      if (distance(colour, other) < distance(colour, palette[best])) best = place;
    });
    places.set(colour, best);
  }
  let text = "";
  for (let at = 0; at < colours.length; at += 8192) {
    text += String.fromCharCode(...[...colours.subarray(at, at + 8192)].map((colour) => places.get(colour)));
  }
  return {width: image.width, height: image.height, palette, indexes: btoa(text)};
}"""


async def small_png(context: BrowserContext, picture: bytes) -> bytes:
    """Return a PNG with at most 256 colours."""
    page = await context.new_page()
    found: dict[str, Any] = await page.evaluate(_QUANTISE, base64.b64encode(picture).decode())
    await page.close()
    return _indexed(found["width"], found["height"], found["palette"], base64.b64decode(found["indexes"]))


def _indexed(width: int, height: int, palette: list[int], indexes: bytes) -> bytes:
    rows = b"".join(b"\0" + indexes[at : at + width] for at in range(0, width * height, width))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", b"".join(colour.to_bytes(3, "big") for colour in palette)),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def size_of(picture: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG."""
    width, height = struct.unpack(">II", picture[16:24])
    return width, height
