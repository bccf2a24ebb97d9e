# SPDX-License-Identifier: MIT
"""The portal as an application of `ctwsgi serve`. gunicorn's master holds the configuration.

HUP reads the file again. If it has a mistake, the log gets an error, and the portal goes on with
the old configuration: a typing error must not end a running portal.

It must be imported after ctwsgi.serving.patch.patch().
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ctwsgi.serving.application import ServeApplication

from ..config import Config, ConfigError, load
from .application import create

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class PortalServer(ServeApplication):
    """`arguments` makes the arguments of `ctwsgi serve` from a configuration."""

    def __init__(
        self, path: str, config: Config, arguments: Callable[[Config], Sequence[str]]
    ) -> None:
        self._path = path
        self._config = config
        self._arguments = arguments
        super().__init__(arguments(config))

    def reload(self) -> None:
        try:
            config = load(self._path)
            if _addresses(config) != _addresses(self._config):
                # Old workers that finish their requests still listen at the old addresses.
                raise ConfigError(f"{self._path}: another [listen] bind needs a restart")
        except ConfigError as e:
            logging.getLogger("gunicorn.error").error("%s; the portal stays as it was", e)
            return
        settings, before = self.cfg, self._config
        self._config, self.argv = config, self._arguments(config)
        super().reload()
        if self.cfg is settings:  # it was refused: the old listeners stay
            self._config, self.argv = before, self._arguments(before)

    def load_wsgiapp(self) -> WSGIApplication:
        return create(self._config)


def _addresses(config: Config) -> list[object]:
    return [(role, one.bind) for role, one in config.listen.roles().items()]
