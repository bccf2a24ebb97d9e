# SPDX-License-Identifier: MIT
"""The portal under `ctwsgi serve`: gunicorn's master holds the configuration, workers inherit it.

HUP reads the file again. What is wrong with it then is an error in the log, and everything stays as
it was: a typing error must not take a running portal down.

Import it only after ctwsgi.serving.patch.patch(), as ctwsgi.serving.application says.
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
    """`arguments` makes the words after `ctwsgi serve` from a configuration."""

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
                # Workers that finish their work still hold the old ones.
                raise ConfigError(f"{self._path}: another [listen] bind needs a restart")
        except ConfigError as e:
            logging.getLogger("gunicorn.error").error("%s; the portal stays as it was", e)
            return
        settings, before = self.cfg, self._config
        self._config, self.argv = config, self._arguments(config)
        super().reload()
        if self.cfg is settings:  # refused, and the listeners are still those of before
            self._config, self.argv = before, self._arguments(before)

    def load_wsgiapp(self) -> WSGIApplication:
        return create(self._config)


def _addresses(config: Config) -> list[object]:
    return [(role, one.bind) for role, one in config.listen.roles().items()]
