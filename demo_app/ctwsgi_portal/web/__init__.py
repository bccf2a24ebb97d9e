# SPDX-License-Identifier: MIT
"""The portal's pages, probe answers and API: three WSGI applications, one for each listener.

    application.py   chooses the application by the listener of a request
    redirected.py    answers redirected connections: probes, 302 to the portal, 511
    splash.py        the portal's own pages: acceptance, status, logout
    admin.py         the operator's page
    api.py           the API of RFC 8908

These use portal.py (configuration, store, secret, the client of a request), accept.py (the methods
of acceptance), continuation.py (carries the original destination through the splash page),
security.py, pages.py, language.py and plain.py (answers of one line).
"""
