# SPDX-License-Identifier: MIT
"""Attackers: a client that sends any packet it likes, and the rules that must hold all the same.

The client has a raw socket and an address of its own that no kernel answers for (wire.py). It can
send any segment (segment.py) at any place of a connection's numbers (peer.py), sees what comes
back, and can send packets in the server's name from its own wire. The server is a real listener of
the kernel's; what its application does (server.py) is chosen by the attacker too: a web server
answers, closes and resets when it is asked to.

What must hold of every connection that the listener ever accepts (oracle.py): its stream is empty,
or it begins with exactly what the injector writes for the true original destination and the true
client. Nothing else is asked: an attacker may break its own connections in any way.

attack.py joins these for one case. cases_*.py have the named attacks, walk.py draws thousands from
a grammar of the same actions.
"""
