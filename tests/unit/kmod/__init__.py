# SPDX-License-Identifier: MIT
"""The sources of the kernel module, read as text."""
