# SPDX-License-Identifier: MIT
"""A captive portal on ctwsgi. The manual is demo_app/docs/portal.md, the command `ctwsgi-portal`.

    config/    one TOML file, read into frozen dataclasses
    state/     sessions, vouchers and limits, in SQLite or, for many machines, in Redis
    web/       the pages, the probe answers and the RFC 8908 API, as WSGI applications
    gateway/   the agent and the ruleset that let clients through
    cli/       the subcommands of `ctwsgi-portal`

Imports go one way: config and state are at the bottom, cli on top. web and gateway import neither
each other nor cli. Of ctwsgi only public names are imported (docs/api.md).
"""

__version__ = "0.1.0"
