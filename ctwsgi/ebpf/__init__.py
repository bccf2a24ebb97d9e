# SPDX-License-Identifier: MIT
"""The eBPF injector: attaches the program of kmod/bpf to a gateway's device, and controls it.

    libbpf.py      calls into libbpf.so.1
    structs.py     the structs and counters that program and user space share
    host.py        requirements: kernel, capabilities, libraries, devices
    half_open.py   resets connections whose header is missing when the program is detached
    pins.py        where maps are pinned, which device they belong to, one command at a time
    injector.py    attach, replace, detach; reads and writes the program's maps
    status.py      counters and flows as text, JSON and Prometheus
    rules.py       nft rules and systemd unit for a setup
    command.py     `ctwsgi gateway`

Only command.py needs more than the standard library.
"""
