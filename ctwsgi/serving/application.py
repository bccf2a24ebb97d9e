# SPDX-License-Identifier: MIT
"""`ctwsgi serve`: gunicorn's own application with our worker, options and messages.

Import it only after patch.patch(): gunicorn imports ssl and threading.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError

from .settings import Config


class ServeApplication(WSGIApplication):  # type: ignore[misc]
    """Runs gunicorn on `argv`, the words after `ctwsgi serve`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = argv
        self.app_uri: str | None = None
        super().__init__("%(prog)s [OPTIONS] MODULE:APP", prog="ctwsgi serve")

    def load_default_config(self) -> None:
        self.cfg = Config(self.argv, self.usage, self.prog)

    def do_load_config(self) -> None:
        """Exits with one line for any mistake in the options."""
        try:
            self._load()
        except Exception as e:
            sys.exit(f"{self.prog}: {e}")

    def _load(self) -> None:
        self.load_default_config()
        self.load_config()
        self.cfg.validate()

    def load_config(self) -> None:
        from .options import from_environ

        for name, value in from_environ(self.cfg.env_orig).items():
            self.cfg.set(name, value)
        super().load_config()

    def reload(self) -> None:
        """On HUP. When the new configuration is wrong, the old one stays in use."""
        good = self.cfg
        try:
            self._load()
        except (Exception, SystemExit) as e:
            self.cfg = good
            log = logging.getLogger("gunicorn.error")
            log.error("%s; the configuration stays as it was", e)

    def load(self) -> Any:
        try:
            return super().load()
        except AppImportError as e:
            if self.cfg.check_config or self.cfg.print_config:
                sys.exit(f"{self.prog}: {e}")
            raise

    def load_wsgiapp(self) -> Any:
        """Raises AppImportError, which is shown as one line, when the module does not exist."""
        module = (self.app_uri or "").partition(":")[0]
        try:
            return super().load_wsgiapp()
        except ModuleNotFoundError as e:
            # Only for the application's module: an import inside it needs its traceback.
            if e.name and (module == e.name or module.startswith(e.name + ".")):
                raise AppImportError(f"no module {e.name!r} to import {self.app_uri!r}") from None
            raise
        except ImportError as e:
            if module.endswith(".py"):  # gunicorn's message "did you mean"
                raise AppImportError(str(e)) from None
            raise

    def run(self) -> None:
        try:
            super().run()
        except AppImportError as e:  # --preload
            print(f"{self.prog}: {e}", file=sys.stderr)
            sys.exit(Arbiter.APP_LOAD_ERROR)


def main(argv: Sequence[str]) -> None:
    """Serves until stopped; leaves through SystemExit."""
    ServeApplication(argv).run()
