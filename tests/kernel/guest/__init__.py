# SPDX-License-Identifier: MIT
"""The suites that run in the guest: real connections through an injector.

    python3 -m tests.kernel.guest --module ctinject.ko --report FILE [--full | --smoke]

One process makes the namespaces (lab.py), enters them to open sockets (net.py), and runs the cases.
A case is a conversation (loads.py) in one deployment (places.py), over wires that lose, reorder and
duplicate packets (impair.py). The same rules judge every case (judge.py, run.py):

- the payload is the same at both ends, both ways, by sha256;
- both addresses and ports are right, and so is the original destination decoded from the stream;
- the connection ends as it would without the injector;
- conntrack counts nothing INVALID, and the kernel logs no complaint;
- afterwards the injector holds no flow and no memory.

matrix.py combines loads, impairments, offloads and places; the files cases_*.py have named cases.
"""
