# SPDX-License-Identifier: MIT
"""Tests of ctwsgi and its portal; docs/architecture.md#tests says which folder tests what."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

# On Debian an ordinary user's PATH lacks the folders of ip, nft and modprobe. The processes that
# tests start inherit it.
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
