"""Proposals of teachers for the label of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apps.retail.cloud.teachers import YOLOX_FILE, Teachers
from common.errors import ConfigError


def test_a_folder_without_teachers_is_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"apps\.retail\.teachers.*edgeloop data get yolox_nano"):
        Teachers(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / YOLOX_FILE).touch()
    with pytest.raises(ValueError, match="no picture"):
        Teachers(tmp_path).propose(np.frombuffer(content, np.uint8))
