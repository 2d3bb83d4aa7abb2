# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

# Slots and data paths as the tests of the mount have them.
sys.path.append(str(Path(__file__).resolve().parent.parent / "mount"))
