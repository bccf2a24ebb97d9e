# SPDX-License-Identifier: MIT
"""Attacks: a client sends any packet that it likes, and the listener must not see a false origin.

The attacker has a raw socket and addresses that no kernel answers for (wire.py). It can send any
segment (segment.py) with any sequence numbers (peer.py), sees the replies, and can send packets in
the server's name from its own wire. The server is a real listener of the kernel. The attacker also
decides what the server's application does (server.py), because a web server answers, closes and
resets on request.

oracle.py checks every connection that the listener accepts: its stream is empty, or it begins with
exactly what the injector writes for the true original destination and the true client. An attacker
may break its own connections in any other way.

attack.py runs one case. The files cases_*.py have the named attacks; walk.py draws thousands of
random ones from the actions of grammar.py.
"""
