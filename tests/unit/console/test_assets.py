"""Styles and scripts are named after their contents and kept for good; unknown names are not found."""

from __future__ import annotations

from pathlib import Path

from llm_gateway.console.assets import ASSETS, load_assets
from tests.fakes.console_app import browser


async def test_an_asset_is_served_for_good_without_a_session() -> None:
    asset = ASSETS["console.css"]
    async with browser(role=None) as client:
        reply = await client.get(f"/console/assets/{asset.name}")
        other = await client.get("/console/assets/console-0000000000000000.css")
    assert reply.content == asset.content
    assert reply.headers["content-type"] == "text/css; charset=utf-8"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert other.status_code == 404
    assert other.headers["cache-control"] == "no-store"


def test_another_content_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a{}")
    first = load_assets(tmp_path)["a.css"].name
    (tmp_path / "a.css").write_text("b{}")
    assert load_assets(tmp_path)["a.css"].name != first
