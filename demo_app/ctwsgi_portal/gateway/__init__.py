# SPDX-License-Identifier: MIT
"""The gateway's side: the packet filter that enforces grants, and the agent that fills its sets."""
