# SPDX-License-Identifier: MIT
"""The module's frame map, compiled as a user-space library."""
