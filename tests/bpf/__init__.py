# SPDX-License-Identifier: MIT
"""Tests of the eBPF injector on this machine's own kernel, in network namespaces.

    python -m tests.bpf [--full] [--sequences N]      the kernel tests' cases, without a guest
    python -m tests.bpf.mistakes                      each deliberate mistake must make a case fail
    pytest tests/bpf                                  `ctwsgi gateway`, upgrades, real receivers

The cases are those of tests/kernel/guest, which also run in the guests. Here those with netem are
left out, since this machine's kernel may not have it.
"""
