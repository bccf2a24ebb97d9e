# SPDX-License-Identifier: MIT
"""Packets that an honest client does not send: without a connection, with impossible flags, in
fragments, in the server's name, and false ICMP errors.
"""

from __future__ import annotations

from dataclasses import replace
from socket import AF_INET, IPPROTO_RAW, SOCK_RAW

from tests.kernel.guest.case import OFFLOADS
from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .cases_syn import cookie, use
from .forgery import forged
from .peer import Peer
from .segment import FLAGS, fast_open, fragment, icmp_error, mss, window_scale
from .tap import Tap

REQUEST = b"the request"


def no_syn(attack: Attack) -> None:
    """Segments without a SYN: conntrack accepts them in mid-stream, but there is no header."""
    for flags in ("A", "PA", "FA", "UA", "FPA", "R", "RA", "SA", "SPA"):
        attack.peer().send(0, forged(attack, attack.peer()), flags)
    attack.settle()
    peer, accepted = attack.establish(REQUEST)
    attack.forget_conntrack()
    peer.send(len(REQUEST), b"more", "PA")
    attack.settle()
    if not attack.trial.injector.outlives_conntrack:
        require(b"more" not in accepted.received, "picked up")
    attack.require_counted("drop_no_syn")
    accepted.vanish()
    use(attack, peer, [cookie(peer)])


def flags(attack: Attack) -> None:
    """All 256 combinations of flags, with data, before a SYN and around a handshake's last ACK."""
    every = ["".join(f for bit, f in enumerate(FLAGS) if n >> bit & 1) for n in range(256)]
    fresh, opened = attack.peer(), attack.open()
    known, _ = attack.establish(REQUEST)
    for some in every:
        if "R" in some:
            opened, (known, _) = attack.open(), attack.establish(REQUEST)
        for peer in (fresh, opened, known):
            for at in (0, -1, -attack.header, len(REQUEST)):
                peer.send(at, forged(attack, peer), some)
    attack.settle()


def syn_with_payload(attack: Attack) -> None:
    """Data on the SYN, with and without the Fast Open option, and later other data in its place."""
    for option in (b"", fast_open(), fast_open(bytes(8)), fast_open(b"cookie..")):
        peer = attack.peer()
        peer.syn(options=mss(1460) + option, data=forged(attack, peer))
        attack.settle()
        require(peer.synack and peer.synack.ack == peer.first, "the payload was acknowledged")
        use(attack, peer, [cookie(peer)])
        peer.send()
        peer.send(0, REQUEST, "PA")
        attack.settle()


def fast_open_cookie(attack: Attack) -> None:
    """A valid Fast Open cookie, obtained without the injector, does not help."""
    peer, _ = attack.establish(REQUEST, options=mss(1460) + fast_open())
    require(not any(34 in reply.options for reply in peer.replied("SA")), "a cookie was given")
    with attack.trial.listener.sysctls({"net.ipv4.tcp_fastopen": 0x203}):
        # Bit 9: the server accepts data without a cookie.
        peer = attack.peer()
        peer.syn(options=mss(1460) + fast_open(bytes(8)), data=forged(attack, peer))
        attack.settle()


def overlapping_fragments(attack: Attack) -> None:
    """Fragments that overlap with other content, and segments that are split after the header."""
    peer = attack.open()
    real = peer.segment(0, REQUEST.ljust(64, b"."), "PA")
    other = peer.segment(-attack.header, forged(attack, peer).ljust(64, b"!"), "PA")
    source, destination = peer.source[0], peer.original[0]
    for first, second in ((real, other), (other, real)):
        for size in (8, 24, 40):
            one = first.fragments(size)
            two = second.fragments(size)
            peer.send_raw(one[0], *two[1:], *one[1:])
            peer.send_raw(*reversed(one[1:]), two[0], *one)
            peer.send_raw(*two[:-1], *one[-1:])
    body = real.packet()[20 if attack.place.version == 4 else 40 :]
    for at, more in ((0, True), (8, True), (16, False), (0, True), (24, False)):
        peer.send_raw(fragment(source, destination, 6, body[at : at + 24], at, more))
    attack.settle()
    peer.send_raw(*real.fragments(24))
    attack.settle()


def bad_checksums(attack: Attack) -> None:
    """Corrupt segments change nothing, neither in the injector nor in the server."""
    peer = attack.peer()
    peer.syn(bad_checksum=True)
    attack.settle()
    require(not peer.synack, "a corrupt SYN was answered")
    peer = attack.open()
    for at in (0, -attack.header, 5):
        peer.send(at, forged(attack, peer), "PA", bad_checksum=True)
    peer.spoof(0, b"", "A", 200, bad_checksum=True)
    attack.settle()
    require(not [a for a in attack.server.accepted if a.received], "corrupt data has arrived")
    peer.send()
    peer.send(0, REQUEST, "PA")


def zero_windows(attack: Attack) -> None:
    """The client announces a window of zero, in the SYN and always."""
    for window in (0, 1, 27, 28, 29):
        peer = attack.open(window=window)
        peer.send(window=0)
        peer.send(-1, window=0)
        peer.send(-1, b"g", window=0)
        peer.send(0, REQUEST, "PA", window=0)
        attack.settle()
        require(attack.accepted(peer).received, "nothing has arrived")


def behind_fin(attack: Attack) -> None:
    """Data after a FIN, FINs at several places, a FIN in the header's place."""
    peer, accepted = attack.establish(REQUEST)
    end = len(REQUEST)
    peer.send(end, b"last", "FPA")
    for at in (end + 4, end + 5, end + 6, end + 100, 0, -attack.header):
        peer.send(at, forged(attack, peer), "PA")
        peer.send(at, forged(attack, peer), "FPA")
        peer.send(at, b"", "FA")
    attack.settle()
    require(accepted.ended == "eof", f"the server saw {accepted.ended or 'no end'}")
    fresh = attack.open()
    fresh.send(0, b"", "FA")
    fresh.send(1, forged(attack, fresh), "PA")
    fresh.send(0, forged(attack, fresh), "PA")
    attack.settle()


def in_the_servers_name(attack: Attack) -> None:
    """SYN-ACKs, acknowledgements of the header, data, FINs and RSTs in the server's name, from the
    client's wire. They must not convince the injector that the server has the header or a socket.
    """
    size = attack.header
    for flags, at, ack, data in (
        ("SA", -1, 0, b""),
        ("SA", -1, -size, b""),
        ("SA", -1, 1000, b""),
        ("A", 0, 0, b""),
        ("A", 0, -size, b""),
        ("A", 0, 500, b""),
        ("PA", 0, 0, b"S" * 500),
        ("FA", 0, 0, b""),
        ("R", 0, 0, b""),
        ("RA", 0, 0, b""),
        ("RA", 0, 500, b""),
    ):
        peer = attack.open()
        peer.spoof(at, data, flags, ack)
        attack.settle()
        _after_spoofing(attack, peer)
        peer = attack.peer()
        peer.syn()
        peer.spoof(at, data, flags, ack)
        attack.settle()
        if peer.synack:
            _after_spoofing(attack, peer)


def _after_spoofing(attack: Attack, peer: Peer) -> None:
    """Sends what the injector drops as long as the server may have no socket."""
    data = forged(attack, peer)
    for at in (-attack.header, -1, 0, 1, 50, 100):
        for ack in (0, at + attack.header, at + 8, at):
            peer.send(at, data, "PA", ack)
    attack.settle()


def spoofed_then_middle_of_a_frame(attack: Attack) -> None:
    """ctframe: forged packets pretend that the server has a socket, and has sent enough for a
    cookie within a frame. A segment without a cookie has already brought that frame.
    """
    k = 50
    peer = attack.open(options=mss(1460))
    peer.send(-1, ttl=1)
    peer.spoof(0, b"S" * k, "PA")
    peer.send(-1, ack=k, ttl=1)
    peer.send(1000, b"beyond a gap", "PA", 3)
    attack.settle()
    shift = 8 if attack.framed else -attack.header
    peer.send(k - shift, forged(attack, peer), "PA", k)
    attack.settle()


def icmp_errors(attack: Attack) -> None:
    """ICMP errors about the SYN, the header and data, from the client and in the server's name."""
    peer = attack.open()
    v6 = attack.place.version == 6
    kinds = ((1, 4), (1, 3), (2, 0), (3, 0), (4, 1)) if v6 else ((3, 3), (3, 4), (11, 0), (12, 0))
    for round_ in range(2):
        mine = peer.segment(0, REQUEST, "PA")
        translated = replace(mine, destination=peer.listener)
        reply = replace(translated, source=peer.listener, destination=peer.source, seq=peer.server)
        for kind, code in kinds:
            for about in (mine, translated, reply):
                for mtu in (0, 68, 76, 300, 1280, 65535):
                    for sender in (peer.source[0], peer.listener[0], peer.original[0]):
                        target = about.source[0]
                        packet = icmp_error(sender, target, kind, code, mtu, about.packet())
                        peer.send_raw(packet, packet[:-30])
        attack.settle()
        peer.send()
        peer.send(0, REQUEST if not round_ else b"x" * 1400, "PA")
        attack.settle()
        require(attack.accepted(peer).received, "nothing has arrived")


def tiny_mtu(attack: Attack) -> None:
    """ctframe cuts segments to the MTU that an ICMP error has told. The client's own error tells
    nothing of the way to the server; one from there counts, down to what the kernel believes.
    """
    if not attack.framed:
        return
    lab, data = attack.trial.lab, b"x" * 1400
    peer, _ = attack.establish(REQUEST)
    elsewhere = attack.place.local
    lab.gateway.offloads("gs", OFFLOADS["off"])  # which cuts before the wire
    try:
        with Tap(lab.server, 4) as tap, lab.server.socket(AF_INET, SOCK_RAW, IPPROTO_RAW) as wire:
            peer.send_raw(_too_big(peer, len(REQUEST), 1))
            peer.send(len(REQUEST), data, "PA")
            attack.settle()
            require(elsewhere or len(tap.arrived(peer)) == 1, "cut for the client's own error")
            wire.sendto(_too_big(peer, len(REQUEST + data), 2), (peer.source[0], 0))
            peer.send(len(REQUEST + data), data, "PA")
            attack.settle()
            pieces = len(tap.arrived(peer))
            require(elsewhere or 1 < pieces < 5, f"cut into {pieces}")
    finally:
        lab.gateway.offloads("gs", OFFLOADS["on"])
    converted = attack.trial.risen().get("gso_converted", 0)
    require(converted == (not elsewhere), f"{converted} segments were cut")


def _too_big(peer: Peer, at: int, frames: int) -> bytes:
    """An ICMP error about the segment that follows `frames` frames: the MTU is 76."""
    about = replace(peer.segment(at + 8 * frames), destination=peer.listener)
    return icmp_error(peer.listener[0], peer.source[0], 3, 4, 76, about.packet())


def wrapped_around(attack: Attack) -> None:
    """Acknowledgements in the server's name move conntrack's window on, until the numbers wrap
    around to the header's place.
    """
    peer, accepted = attack.establish(REQUEST, options=mss(1460) + b"\x01" + window_scale(14)[:3])
    at, step = len(REQUEST), 1 << 29
    while at < 1 << 32:
        peer.spoof(0, b"", "A", at, window=65535)
        peer.send(at + step // 8, b"x")
        at += step // 8
        peer.spoof(0, b"", "A", at + 1, window=65535)
    attack.settle()
    accepted.vanish()
    use(attack, peer, [cookie(peer)])


def resent_otherwise(attack: Attack) -> None:
    """ctframe: retransmissions with other content and other boundaries, in all orders."""
    peer = attack.open()
    data = forged(attack, peer) * 60
    order = [(at, size) for at in (0, 1, 7, 8, 9, 100, 95, 1300) for size in (1, 8, 9, 100, 1400)]
    attack.random.shuffle(order)
    for at, size in order:
        peer.send(at, data[attack.random.randrange(16) :][:size], "PA")
        if attack.random.random() < 0.2:
            peer.spoof(0, b"", "A", at + size // 2)
        if attack.random.random() < 0.2:
            attack.settle()
    attack.settle()


def too_many_frames(attack: Attack) -> None:
    """At the limit of unacknowledged frames, further segments are dropped."""
    with attack.trial.injector.limits(max_frames=20):
        peer = attack.open()
        for at in range(1, 400, 7):  # without the first byte, so that nothing is acknowledged
            peer.send(at, forged(attack, peer)[:7], "PA")
        for at in range(0, 400, 5):
            peer.send(at, forged(attack, peer)[:30], "PA")
        attack.settle()
        if attack.framed:
            attack.require_counted("drop_frame_limit")


def too_many_flows(attack: Attack) -> None:
    """At the limit of flows, nothing passes unmarked."""
    with attack.trial.injector.limits(max_flows=1):
        peers = [attack.peer() for _ in range(4)]
        for peer in peers:
            peer.syn(options=mss(1460))
        attack.settle()
        for peer in peers:
            peer.send(1, b"beyond")
            use(attack, peer, [cookie(peer)] if peer.synack else [])
        attack.require_counted("drop_flow_limit")


CASES: dict[str, Function] = {
    function.__name__.replace("_", "-"): function
    for function in (
        no_syn,
        flags,
        syn_with_payload,
        fast_open_cookie,
        overlapping_fragments,
        bad_checksums,
        zero_windows,
        behind_fin,
        in_the_servers_name,
        spoofed_then_middle_of_a_frame,
        icmp_errors,
        tiny_mtu,
        wrapped_around,
        resent_otherwise,
        too_many_frames,
        too_many_flows,
    )
}
