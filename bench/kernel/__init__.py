# SPDX-License-Identifier: MIT
"""What the kernel module costs, side by side in one guest: `make bench-kernel`.

    client ns ──── gateway ns ──── server ns            (tests/kernel/guest/lab.py has the picture)

The guest has one processor, and QEMU counts its instructions instead of the time (-icount): a
duration is what client, gateway and server have executed together, whatever else the machine does.
docs/benchmarks.md#the-kernel-module has the method, its limits and the last table.

    __main__.py   outside: builds, boots, prints
    machine.py    the guest whose clock counts instructions
    programs.py   compiles what is written in C
    plan.py       sides, workloads, aims
    inside.py     in the guest: the rounds
    gateway.py    in the guest: what each side does on the gateway
    flood.py      in the guest, or here: a SYN flood against a protected server
    crowd.c       connections without sockets, and SYNs
    floor.bpf.c   what an eBPF injector could cost at least
    bpf_stats.py  the eBPF programs' share, by the kernel's own count
    hooks.py      the module's share, by the kernel's function graph
    sample.py     a sample, and whether it may be believed
    table.py      ratios, targets, the table
    profile.py    every function's share, by a plugin of QEMU's
"""
