# SPDX-License-Identifier: Apache-2.0
"""The data paths are chosen as the tests of the mount choose them."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "mount"))
