"""Sans-IO codecs: bytes in, facts out. No sockets, no gevent."""
