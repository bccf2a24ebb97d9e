# SPDX-License-Identifier: MIT
"""The lab's own parts."""
