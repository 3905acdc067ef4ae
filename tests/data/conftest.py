"""What tests of the makers' archives share."""

from __future__ import annotations

from typing import Any

import pytest

from mixer_bench.data import archives
from tests import maker_archives
from tests.maker_archives import Server


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let ``originals.toml`` name files of a server: gives a function of the data set's name and the server."""

    def offer(name: str, server: Server, **changed: Any) -> None:
        table = maker_archives.table_of(name, server, **changed)
        monkeypatch.setattr(archives, "of", {name: table}.__getitem__)

    return offer
