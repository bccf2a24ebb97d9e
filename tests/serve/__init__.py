# SPDX-License-Identifier: MIT
"""`ctwsgi serve` and `gunicorn -k` as processes: options, signals, reload, stop."""
