# SPDX-License-Identifier: MIT
"""A captive portal on ctwsgi: demo_app/docs/portal.md is its manual, `ctwsgi-portal` its command.

    config/    one TOML file, read into frozen dataclasses
    state/     who may pass, until when; vouchers; limits: SQLite, or Redis for many machines
    web/       the pages, the probe answers and the RFC 8908 API, as WSGI applications
    gateway/   the agent and the ruleset that let clients through
    cli/       the command

Imports run one way: config and state at the bottom, cli on top; web and gateway know neither
each other nor the cli.
"""

__version__ = "0.1.0"
