# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from building import make
from daemon import BUILD


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the Debian packages. The unit tests are a suite of their own."""
    make("deb", DEB_BUILD_OPTIONS="nocheck")
    return BUILD / "deb-test/deb"
