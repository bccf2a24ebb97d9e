# SPDX-License-Identifier: MIT
"""Would a client that trusts this certificate's issuer accept it for this host, now?

Answered by a TLS handshake in memory, in which the file itself is what the client trusts: so the
library that will serve the certificate judges its dates and names, and no parser of ours.
"""

from __future__ import annotations

import ssl


def why_refused(certfile: str, keyfile: str | None, host: str) -> str | None:
    """In one line; None when it would be accepted."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the leaf alone may be trusted
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
