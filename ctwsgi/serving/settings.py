# SPDX-License-Identifier: MIT
"""ctwsgi's options as gunicorn settings, and the Config that holds them.

Importing this module registers the settings with gunicorn, so that config files, GUNICORN_CMD_ARGS
and flags accept them: gunicorn registers a Setting class when the class is defined, so that no code
names these classes. Only `ctwsgi serve` imports the module: under plain gunicorn the Config is made
before the worker class is loaded, and the options come from CTWSGI_* instead.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import gunicorn
from gunicorn import config as gunicorn_config
from gunicorn import systemd

from ..version import __version__
from . import options
from .honoured import REFUSED, refuse_unhonoured
from .listeners import names_of

SECTION = "Original destination"
TLS_SECTION = "TLS"

_LOG_FORMAT = gunicorn_config.AccessLogFormat.default + " %(orig_dst)s"

_DEFAULTS = {
    "worker_class": "ctwsgi.worker.CtWorker",
    "logger_class": "ctwsgi.serving.accesslog.Logger",
    "access_log_format": _LOG_FORMAT,
    "control_socket_disable": True,
    # Redirected requests have URLs and cookies of any web site, also long ones.
    "limit_request_line": 8190,
    "limit_request_field_size": 65536,
}


def _flag(value: Any) -> bool | None:
    return options.parse_bool(value) if isinstance(value, str) else bool(value)


class SourceSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "source"
    section = SECTION
    cli = ("--source",)
    meta = "[BIND=]SOURCE"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        How a connection tells where it was going: none, ctframe, proxy, proxy-v2, conntrack or
        tproxy. BIND= (spelled as in --bind) says it for one listener only; repeatable.
        """


class TrustSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "trust"
    section = SECTION
    cli = ("--trust",)
    meta = "[BIND=]CIDR|inline"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        Who may write the origin (ctframe, proxy): networks of injectors that connect to us, or
        the word inline for one in the path, with --auth-key-file or --guarded. Default: loopback
        and unix sockets.
        """


class GuardedSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "guarded"
    section = SECTION
    cli = ("--guarded",)
    action = "store_true"
    validator = _flag
    default = False
    desc = """\
        States that a packet filter lets only translated connections through (with --trust inline).
        """


class SnatSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "snat"
    section = SECTION
    cli = ("--snat",)
    action = "store_true"
    validator = _flag
    default = False
    desc = """\
        Source addresses are rewritten on the way here: do not compare a header's source with the
        TCP peer. Not needed where a signed header names the new address.
        """


class AuthKeyFileSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "auth_key_file"
    section = SECTION
    cli = ("--auth-key-file",)
    meta = "[BIND=]FILE"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        Require PROXY headers signed with one of the keys in FILE: lines of ID HEX, mode 0600, read
        again on HUP.
        """


class AuthWindowSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "auth_window"
    section = SECTION
    cli = ("--auth-window",)
    meta = "SECONDS"
    type = int
    validator = options.whole_seconds
    default = 300
    desc = """\
        How far a signature's time may be from ours; 0 for any time.
        """


class OwnSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "self"
    section = SECTION
    cli = ("--self",)
    meta = "[BIND=]ADDR[:PORT]"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        An address of this very service (tproxy): connections to it were not redirected.
        """


class RequireRedirectSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "require_redirect"
    section = SECTION
    cli = ("--require-redirect",)
    action = "store_true"
    validator = _flag
    default = False
    desc = """\
        Close connections that were not redirected (conntrack, tproxy).
        """


class OriginTimeoutSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "origin_timeout"
    section = SECTION
    cli = ("--origin-timeout",)
    meta = "SECONDS"
    type = float
    validator = options.seconds
    default = 10.0
    desc = """\
        From accept to a known origin; 0 for no limit, as in the next two.
        """


class RequestTimeoutSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "request_timeout"
    section = SECTION
    cli = ("--request-timeout",)
    meta = "SECONDS"
    type = float
    validator = options.seconds
    default = 30.0
    desc = """\
        For a whole request head to arrive.
        """


class BodyTimeoutSetting(gunicorn_config.Setting):  # type: ignore[misc]
    name = "body_timeout"
    section = SECTION
    cli = ("--body-timeout",)
    meta = "SECONDS"
    type = float
    validator = options.seconds
    default = 30.0
    desc = """\
        Without progress in a request body or in the sending of a response.
        """


class _Unseen:
    """gunicorn sees these settings as unset, because its own TLS would cover every listener."""

    def get(self) -> None:
        return None


class CertFileSetting(_Unseen, gunicorn_config.Setting):  # type: ignore[misc]
    name = "certfile"
    section = TLS_SECTION
    cli = ("--certfile",)
    meta = "[BIND=]FILE"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        TLS for a listener whose source is none: certificate chain, PEM (and key, unless --keyfile).
        """


class KeyFileSetting(_Unseen, gunicorn_config.Setting):  # type: ignore[misc]
    name = "keyfile"
    section = TLS_SECTION
    cli = ("--keyfile",)
    meta = "[BIND=]FILE"
    action = "append"
    validator = gunicorn_config.validate_list_string
    default = ()
    desc = """\
        The key of --certfile, PEM, not encrypted.
        """


class Parser(argparse.ArgumentParser):
    """Parses the words after `ctwsgi serve`. sys.argv is unchanged: gunicorn needs it on USR2."""

    def __init__(self, argv: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._argv = argv

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_args(self._argv if args is None else args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help.\n")


class Config(gunicorn_config.Config):  # type: ignore[misc]
    """gunicorn's Config with our defaults and help; refuses what our worker does not honour."""

    def __init__(self, argv: Sequence[str], usage: str, prog: str) -> None:
        super().__init__(usage, prog=prog)
        self.argv = argv
        for name, value in _DEFAULTS.items():
            setting = self.settings[name]
            setting.default = value
            setting.set(value)

    def ct_options(self) -> options.Options:
        """Our options, `--certfile` and `--keyfile` among them."""
        return options.from_settings({n: s.value for n, s in self.settings.items()})

    def validate(self) -> None:
        """Raises ValueError, in one line, for what gunicorn accepts and our worker does not."""
        super().validate()
        refuse_unhonoured(self)
        uri = self.settings["worker_class"].get()
        if uri != _DEFAULTS["worker_class"]:
            raise ValueError(f"worker_class {uri}: ctwsgi serve brings its own")
        inherited = systemd.listen_fds(unset_environment=False)
        if "GUNICORN_FD" not in os.environ:  # else the sockets come from another master
            names = names_of(self.address, inherited)
            for chosen, called in zip(options.assign(self.ct_options(), names), names, strict=True):
                options.check_trust(chosen, called)

    @property
    def logger_class(self) -> Any:
        uses_ours = self.settings["logger_class"].get() == _DEFAULTS["logger_class"]
        if uses_ours and self.statsd_host is not None:
            from .accesslog import statsd_logger

            return statsd_logger()
        return super().logger_class

    def parser(self) -> Parser:
        parser = Parser(
            self.argv,
            usage=self.usage,
            prog=self.prog,
            add_help=False,
            formatter_class=_HelpFormatter,
            description=_DESCRIPTION,
            epilog=_EPILOG,
        )
        parser.add_argument("args", nargs="*", help=argparse.SUPPRESS)
        for section in self._sections():
            group = parser.add_argument_group(section)
            for setting in sorted(self.settings.values(), key=lambda s: s.order):
                if setting.section == section:
                    _add_option(setting, group)
        group = parser.add_argument_group("Help")
        version = f"ctwsgi {__version__} (gunicorn {gunicorn.__version__})"
        group.add_argument("-v", "--version", action="version", version=version)
        group.add_argument("-h", "--help", action="help")
        return parser

    def _sections(self) -> list[str]:
        ordered = sorted(self.settings.values(), key=lambda s: s.order)
        first = ["Server Socket", SECTION, TLS_SECTION, "Worker Processes"]
        return list(dict.fromkeys(first + [s.section for s in ordered]))


def _add_option(setting: Any, group: Any) -> None:
    setting.add_option(group)
    if not setting.cli:
        return
    action = group._group_actions[-1]
    # Flags that are refused are parsed, so that the message can say why, but not shown.
    if setting.name in REFUSED or setting.name in ("worker_class", "control_socket_disable"):
        action.help = argparse.SUPPRESS
    else:
        action.help = _help(setting)


def _help(setting: Any) -> str:
    """The first paragraph of the description, without markup, and a default that is not empty."""
    text = " ".join(setting.desc.partition("\n\n")[0].split())
    text = re.sub(r":ref:`([^`<]*)(<[^`]*)?`|[`*]+", r"\1", text)
    default = setting.default
    if default not in (None, False, "", [], ()):
        text += f" [{', '.join(default) if isinstance(default, list) else default}]"
    return text.replace("%", "%%")


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


_DESCRIPTION = (
    "Serves a WSGI application that learns where its redirected clients were going: "
    "environ['ct.orig_dst']."
)
_EPILOG = (
    "MODULE:APP is module:attribute or module:factory(). Every option may also stand in "
    "gunicorn.conf.py (or --config FILE) and in GUNICORN_CMD_ARGS, under gunicorn's names, ours "
    "with _ for -, and ours also in CTWSGI_* variables. Manual: docs/serve.md."
)
