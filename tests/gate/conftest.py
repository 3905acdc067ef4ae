"""What the gate's tests begin with."""

from pathlib import Path

import pytest

from tests.gate.checks import check, fill


@pytest.fixture
def before(tmp_path: Path) -> Path:
    file = tmp_path / "baseline.json"
    assert check(file, fill(tmp_path / "old"), "--update") == 0
    return file
