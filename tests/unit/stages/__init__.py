# SPDX-License-Identifier: MIT
"""The runner of the make targets."""
