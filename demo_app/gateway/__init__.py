"""The gateway's side: the packet filter that enforces grants, and the agent that fills it."""
