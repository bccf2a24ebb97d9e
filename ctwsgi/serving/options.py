# SPDX-License-Identifier: MIT
"""The options that ctwsgi adds to gunicorn's, and how they are assigned to listeners.

`--source`, `--trust`, `--auth-key-file`, `--self`, `--certfile` and `--keyfile` take `WORD` for
every listener, or `BIND=WORD`, split at the last `=`, for the listener that --bind spells as BIND.
A listener's own words replace the general ones. An option that no listener uses is an error,
because it may have been meant to protect one.
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
from ..trust import Trust, show_listener

Name = int | str | tuple[str, int]
"""A listener in --bind: an inherited descriptor, a unix path, or (host, port)."""

ENVIRON_PREFIX = "CTWSGI_"

_NOT_VARIABLES = ("CERTFILE", "KEYFILE")  # gunicorn has settings for them
_ALIKE = 0.7
"""A variable whose difflib ratio to one of ours is higher counts as misspelt; SORCE has 0.9."""

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
"""The sources that use an option."""


@dataclass(frozen=True)
class Options:
    """The options as given: `WORD` and `BIND=WORD` not yet assigned. Times are in seconds."""

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
    """The options of one listener."""

    source: str
    trust: Trust
    auth_key_file: str | None
    auth_window: int
    own: tuple[tuple[str, int | None], ...]
    require_redirect: bool
    certfile: str | None
    keyfile: str | None


def flag(name: str) -> str:
    """The flag of a field: `--self` for `own`, `--auth-key-file` for `auth_key_file`."""
    return "--" + setting(name).replace("_", "-")


def setting(name: str) -> str:
    """The name of a field in a config file: `self` for `own`, else the field's own name."""
    return "self" if name == "own" else name


def from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """The values of the CTWSGI_* variables by setting name; lists are split as a shell does.

    ValueError for a wrong value, and for a name that looks like a misspelt one of ours.
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
    """Options from values by their names in a config file."""
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
    """Parses yes or no in the usual spellings; ValueError for others."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("neither yes nor no")


def seconds(text: Any) -> float:
    """Parses a time; 0 is no limit. ValueError."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(f"not a number of seconds: {text}")
    return value


def whole_seconds(text: Any) -> int:
    """Parses a time in whole seconds; 0 is no limit. ValueError."""
    value = int(text)
    if value < 0:
        raise ValueError(f"not a number of seconds: {text}")
    return value


def assign(options: Options, listeners: Sequence[Collection[Name]]) -> list[ListenerOptions]:
    """The options of each listener; `listeners` has the names of each.

    ValueError, in one line, for a BIND that is no listener's name, a word given twice, an unknown
    source, and an option that none of its listeners can use.
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
    """Raises UnsafeListener as far as a bind's name tells; the open socket is checked again."""
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
        # A header before the ClientHello would have to be stripped, which is not supported.
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
    """Refuses options that have an effect only together with another option."""
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
    return f"fd://{name}" if isinstance(name, int) else show_listener(name)
