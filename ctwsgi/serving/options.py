# SPDX-License-Identifier: MIT
"""What ctwsgi adds to gunicorn's settings, and which listener each word of it is for.

`--source`, `--trust`, `--auth-key-file`, `--self`, `--certfile` and `--keyfile` take `WORD`, for
every listener, or `BIND=WORD`, split at the last `=`, for the one that --bind spells like that.
A listener's own words replace the general ones. Whatever no listener would use is an error: an
option that protects must not be dropped in silence.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any

from gunicorn.util import parse_address

from ..loops import parse_self
from ..source import SOURCES
from ..trust import Trust
from ..wire.address import show

Name = int | str | tuple[str, int]
"""What --bind may call a listener: an inherited descriptor, a unix path, or (host, port)."""

ENVIRON_PREFIX = "CTWSGI_"

_NOT_VARIABLES = ("CERTFILE", "KEYFILE")  # gunicorn has settings for them
_ALIKE = 0.7
"""difflib's ratio from which a variable is taken for a misspelt one of ours: SORCE has 0.9."""

_READS = {
    "trust": ("ctframe", "proxy", "proxy-v2"),
    "guarded": ("ctframe", "proxy", "proxy-v2"),
    "snat": ("ctframe", "proxy", "proxy-v2"),
    "auth_key_file": ("proxy", "proxy-v2"),
    "auth_window": ("proxy", "proxy-v2"),
    "own": ("tproxy",),
    "require_redirect": ("conntrack", "tproxy"),
    "certfile": ("none",),
    "keyfile": ("none",),
}
"""Which sources make use of an option."""


@dataclass(frozen=True)
class Options:
    """The options as given: lists of `WORD` or `BIND=WORD`, and plain values. Times in seconds."""

    source: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    guarded: bool = False
    snat: bool = False
    auth_key_file: tuple[str, ...] = ()
    auth_window: int = 300
    own: tuple[str, ...] = ()
    require_redirect: bool = False
    origin_timeout: float = 10.0
    request_timeout: float = 30.0
    body_timeout: float = 30.0
    certfile: tuple[str, ...] = ()
    keyfile: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListenerOptions:
    """The options of one listener, each word where it belongs."""

    source: str
    trust: Trust
    auth_key_file: str | None
    auth_window: int
    own: tuple[tuple[str, int | None], ...]
    require_redirect: bool
    certfile: str | None
    keyfile: str | None


def flag(name: str) -> str:
    """`own` to `--self`, `auth_key_file` to `--auth-key-file`."""
    return "--" + setting(name).replace("_", "-")


def setting(name: str) -> str:
    """The name of an option in a config file; only `self` differs from the field's."""
    return "self" if name == "own" else name


def from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """The CTWSGI_* variables by setting name; lists are split as a shell would.

    ValueError for a value that makes no sense, and for a name that looks like a misspelt one.
    """
    kinds = {setting(f.name).upper(): f for f in fields(Options)}
    values = {}
    for key, text in environ.items():
        word = key.removeprefix(ENVIRON_PREFIX)
        if word == key:
            continue
        if word not in kinds or word in _NOT_VARIABLES:
            if meant := get_close_matches(word.upper(), kinds, 1, _ALIKE):
                raise ValueError(f"no such variable: {key} ({flag(meant[0].lower())} is meant?)")
            continue
        try:
            values[setting(kinds[word].name)] = _parse(text, kinds[word].default)
        except ValueError as e:
            raise ValueError(f"{key}={text!r}: {e}") from None
    return values


def from_settings(values: Mapping[str, Any]) -> Options:
    """Options from settings of any origin, by their names in a config file."""
    given: dict[str, Any] = {}
    for f in fields(Options):
        value = values.get(setting(f.name))
        if value is not None:
            given[f.name] = tuple(value) if isinstance(f.default, tuple) else value
    return Options(**given)


def _parse(text: str, like: Any) -> Any:
    if isinstance(like, tuple):
        return tuple(shlex.split(text))
    if isinstance(like, bool):
        return parse_bool(text)
    return seconds(text) if isinstance(like, float) else whole_seconds(text)


def parse_bool(text: str) -> bool:
    """yes/no in the spellings that people use; ValueError for others."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("neither yes nor no")


def seconds(text: Any) -> float:
    """A time, 0 for no limit. ValueError."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(f"not a number of seconds: {text}")
    return value


def whole_seconds(text: Any) -> int:
    """A time in whole seconds, 0 for no limit. ValueError."""
    value = int(text)
    if value < 0:
        raise ValueError(f"not a number of seconds: {text}")
    return value


def assign(options: Options, listeners: Sequence[Collection[Name]]) -> list[ListenerOptions]:
    """The options of each listener; `listeners` holds the names that each answers to.

    ValueError, in one line, for a BIND that no listener has, a word given twice, an unknown
    source, and for an option that none of the listeners it is meant for can use.
    """
    words = {
        name: _words(name, getattr(options, name), listeners)
        for name in ("source", "trust", "auth_key_file", "own", "certfile", "keyfile")
    }
    sources = [_one("source", words["source"][i]) or "none" for i in range(len(listeners))]
    for source in sources:
        if source not in SOURCES:
            raise ValueError(f"--source {source}: choose one of {', '.join(SOURCES)}")
    assigned = [
        ListenerOptions(
            source=source,
            trust=Trust.parse(words["trust"][i], guarded=options.guarded, snat=options.snat),
            auth_key_file=_one("auth_key_file", words["auth_key_file"][i]),
            auth_window=options.auth_window,
            own=tuple(parse_self(w) for word in words["own"][i] for w in word.split(",")),
            require_redirect=options.require_redirect,
            **_tls(words, i, source),
        )
        for i, source in enumerate(sources)
    ]
    _check_used(options, sources, listeners)
    _check_companions(options, assigned)
    return assigned


def check_trust(chosen: ListenerOptions, names: Collection[Name]) -> None:
    """UnsafeListener as far as the name of a bind tells; the open socket is asked once more."""
    for name in names:
        if isinstance(name, tuple) and chosen.source in _READS["trust"]:
            try:
                ip_address(name[0])
            except ValueError:
                continue  # a host name
            chosen.trust.check(
                chosen.source,
                name,
                signed=chosen.auth_key_file is not None,
                signable=chosen.source != "ctframe",
            )


def _tls(words: Mapping[str, list[list[str]]], i: int, source: str) -> dict[str, str | None]:
    certfile = _one("certfile", words["certfile"][i])
    keyfile = _one("keyfile", words["keyfile"][i])
    if keyfile and not certfile:
        raise ValueError(f"--keyfile {keyfile} lacks its --certfile")
    if certfile and source != "none":
        # Before a ClientHello there would be a header to strip; that is not built yet.
        raise ValueError(f"--certfile {certfile}: TLS needs source none, not {source}")
    return {"certfile": certfile, "keyfile": keyfile}


def _words(
    name: str, given: Iterable[str], listeners: Sequence[Collection[Name]]
) -> list[list[str]]:
    general: list[str] = []
    own: dict[int, list[str]] = {}
    for item in given:
        bind, equals, word = item.rpartition("=")
        if not word or (equals and not bind):
            raise ValueError(f"{flag(name)} {item!r}: neither WORD nor BIND=WORD")
        if not equals:
            general.append(word)
            continue
        for i in _matching(name, bind, listeners):
            own.setdefault(i, []).append(word)
    return [own.get(i, general) for i in range(len(listeners))]


def _matching(name: str, bind: str, listeners: Sequence[Collection[Name]]) -> list[int]:
    try:
        wanted = parse_address(bind)
    except RuntimeError as e:
        raise ValueError(f"{flag(name)} {bind}=...: {e}") from None
    found = [i for i, names in enumerate(listeners) if wanted in names]
    if not found:
        known = ", ".join(show_name(n) for names in listeners for n in names)
        raise ValueError(f"{flag(name)} {bind}=...: no --bind is {bind}; there are {known}")
    return found


def _one(name: str, words: Sequence[str]) -> str | None:
    if len(words) > 1:
        raise ValueError(f"{flag(name)} is given {len(words)} times for one listener")
    return words[0] if words else None


def _check_used(
    options: Options, sources: Sequence[str], listeners: Sequence[Collection[Name]]
) -> None:
    for f in fields(Options):
        readers = _READS.get(f.name)
        value = getattr(options, f.name)
        if readers is None or value == f.default:
            continue
        meant = set(range(len(sources)))
        if isinstance(value, tuple):
            binds = [item.rpartition("=")[0] for item in value]
            specific = [i for b in binds if b for i in _matching(f.name, b, listeners)]
            for i in specific:
                if sources[i] not in readers:
                    raise ValueError(_unused(f.name, readers, sources[i]))
            if "" not in binds:
                continue
            meant -= set(specific)
        if not any(sources[i] in readers for i in meant):
            found = ", ".join(sorted({sources[i] for i in meant})) or "none left"
            raise ValueError(_unused(f.name, readers, found))


def _check_companions(options: Options, listeners: Sequence[ListenerOptions]) -> None:
    """Options that mean something only beside another one, on at least one listener."""
    inline = any(listener.trust.inline for listener in listeners)
    for name in ("guarded", "snat"):
        if getattr(options, name) and not inline:
            raise ValueError(f"{flag(name)} goes with --trust inline, and no listener has it")
    signed = any(listener.auth_key_file for listener in listeners)
    if options.auth_window != Options.auth_window and not signed:
        raise ValueError("--auth-window goes with --auth-key-file, and no listener has it")


def _unused(name: str, readers: Sequence[str], found: str) -> str:
    return f"{flag(name)} is for source {' or '.join(readers)}, but here is source {found}"


def show_name(name: Name) -> str:
    """A listener as --bind spells it."""
    if isinstance(name, int):
        return f"fd://{name}"
    if isinstance(name, str):
        return f"unix:{name}"
    return show(*name)
