# SPDX-License-Identifier: MIT
"""Measures what kernel module and eBPF program cost, in one guest: `make bench-kernel`.

    client ns ──── gateway ns ──── server ns            (see tests/kernel/guest/lab.py)

The guest has one processor, and its clock counts instructions (QEMU's -icount). So a duration is
the number of instructions that client, gateway and server have executed together, and does not
depend on the host's load. docs/benchmarks.md#the-kernel-module has the method and a table.

    __main__.py   on the host: builds, boots the guest, prints the results
    machine.py    boots the guest whose clock counts instructions
    programs.py   compiles the programs in C
    plan.py       sides, workloads, targets
    guest.py      in the guest: the rounds
    gateway.py    in the guest: sets up the gateway for each side
    flood.py      in the guest or on this machine: a SYN flood against a protected server
    crowd.c       connections without sockets, and a flood of SYNs
    floor.bpf.c   eBPF programs that do less than any injector has to
    bpf_stats.py  the cost of the eBPF programs alone, by the kernel's statistics
    hooks.py      the cost of the module alone, by the kernel's function graph tracer
    sample.py     one run of the client, and checks that it is valid
    table.py      ratios, targets, the table
    profile.py    the instructions of each function, by a plugin for QEMU
"""
