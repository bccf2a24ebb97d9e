# SPDX-License-Identifier: MIT
"""Whether a client that trusts a certificate's issuer accepts the certificate for a host now.

A TLS handshake in memory answers it; its client trusts the certificate itself. So OpenSSL, which
will serve the certificate, checks dates and names, and no second parser is needed.
"""

from __future__ import annotations

import ssl


def why_refused(certfile: str, keyfile: str | None, host: str) -> str | None:
    """The reason in one line, or None when the client accepts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trusts a leaf without its issuer
    try:
        server.load_cert_chain(certfile, keyfile, password=_no_password)
        client.load_verify_locations(certfile)
        _shake_hands(server, client, host)
    except ssl.SSLCertVerificationError as e:
        return e.verify_message
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        return str(e)
    return None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is encrypted")
