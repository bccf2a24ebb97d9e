# SPDX-License-Identifier: MIT
"""`ctwsgi serve`: what stands between gunicorn (processes, options, logs) and our server."""
