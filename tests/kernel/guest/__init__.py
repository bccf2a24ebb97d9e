# SPDX-License-Identifier: MIT
"""The test matrix that runs inside the guest: real connections through the module.

    python3 -m tests.kernel.guest --module ctinject.ko --report FILE [--full]

One process drives it all. It makes the namespaces (lab.py), enters them to make sockets (net.py),
and each case is a conversation (loads.py) through a place (places.py), over wires that lose,
reorder and duplicate (impair.py), judged by the same rules (judge.py):

- the payload is the same at both ends, both ways, by sha256;
- both addresses and ports are right, the original destination as decoded from the stream;
- the connection ends as it would without the module;
- conntrack calls nothing INVALID, the kernel complains of nothing;
- afterwards the module holds no flow and no memory.

matrix.py has the cases that are combinations; each cases_*.py has named ones.
"""
