# SPDX-License-Identifier: MIT
"""The eBPF injector on the machine's own kernel.

    python -m tests.bpf [--full] [--sequences N]      the kernel tests' cases, without a guest
    python -m tests.bpf.mistakes                      each deliberate mistake must make a case fail
    pytest tests/bpf                                  `ctwsgi gateway`, upgrades, real receivers

The cases are those of tests/kernel/guest, which run in the guests as well; here without netem,
which the machine's kernel need not have.
"""
