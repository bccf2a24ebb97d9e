# SPDX-License-Identifier: MIT
"""The portal's pages, probe answers and API: three WSGI applications, one for each listener.

    application.py   chooses among them by the listener that a request came in on
    redirected.py    what clients dialled elsewhere: probes, 302 to the portal, 511
    splash.py        the portal's own pages: acceptance, status, logout;  admin.py  the operator's
    api.py           RFC 8908

Below them: portal.py (configuration, store, secret; who the client is), accept.py (the methods),
continuation.py (the original destination on its way through the splash page), security.py,
pages.py and language.py.
"""
