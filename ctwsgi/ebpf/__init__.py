# SPDX-License-Identifier: MIT
"""The eBPF injector: loads kmod/bpf onto a gateway's device, sets it, and tells what it does.

    libbpf.py      libbpf.so.1, as far as it is needed
    layout.py      the structs and counters that the program shares with us
    host.py        what of kernel, rights and libraries is missing, and which devices will do
    injector.py    attach, replace, detach; the maps of what is attached
    status.py      counters and flows as text, JSON and Prometheus
    rules.py       the nft rules and the systemd unit that go with it
    command.py     `ctwsgi gateway`

Only command.py needs more than the standard library.
"""
