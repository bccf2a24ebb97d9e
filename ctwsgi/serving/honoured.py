# SPDX-License-Identifier: MIT
"""Which of gunicorn's settings work under our worker, and which stop the start.

A setting must not be ignored in silence. So each one is in a list: either gunicorn's master or our
worker honours it, or it is refused when its value is not the default. A setting that a later
gunicorn adds is in neither list, and is refused until it is added to one.
"""

from __future__ import annotations

from typing import Any

_HONOURED = {
    "configuration": "config wsgi_app check_config print_config chdir pythonpath raw_env paste "
    "raw_paste_global_conf spew",
    "sockets": "bind backlog reuse_port certfile keyfile",
    "processes": "workers worker_class worker_connections max_requests max_requests_jitter "
    "timeout graceful_timeout keepalive preload_app reload reload_engine reload_extra_files daemon "
    "pidfile worker_tmp_dir user group umask initgroups proc_name default_proc_name "
    "enable_stdio_inheritance control_socket_disable",
    "limits": "limit_request_line limit_request_fields limit_request_field_size",
    "logging": "accesslog disable_redirect_access_to_syslog access_log_format errorlog loglevel "
    "capture_output logger_class logconfig logconfig_dict logconfig_json syslog syslog_addr "
    "syslog_prefix syslog_facility statsd_host statsd_prefix dogstatsd_tags enable_backlog_metric",
    "hooks": "on_starting on_reload when_ready pre_fork post_fork post_worker_init worker_int "
    "worker_abort pre_exec child_exit worker_exit nworkers_changed on_exit",
}

HONOURED = frozenset(name for names in _HONOURED.values() for name in names.split())

_FORWARDED = "X-Forwarded-* headers are never read"
_PARSER = "our parser is strict and has no such switch"
_TLS = "only --certfile and --keyfile shape our TLS"
_HTTP2 = "we speak HTTP/1.1 only"
_ASGI = "it is for ASGI applications"
_DIRTY = "there are no dirty workers"
_HOOK = "a WSGI middleware sees every request"

REFUSED = {
    "threads": "a worker runs greenlets, see --worker-connections",
    "sendfile": "files are read and sent in blocks",
    "tmp_upload_dir": "bodies are streamed, never stored",
    "secure_scheme_headers": _FORWARDED,
    "forwarded_allow_ips": _FORWARDED,
    "forwarder_headers": _FORWARDED,
    "header_map": "names with an underscore are always dropped",
    "pre_request": _HOOK,
    "post_request": _HOOK,
    "ssl_context": _TLS,
    "ssl_version": _TLS,
    "cert_reqs": _TLS,
    "ca_certs": _TLS,
    "suppress_ragged_eofs": _TLS,
    "do_handshake_on_connect": _TLS,
    "ciphers": _TLS,
    "proxy_protocol": "use source proxy",
    "proxy_allow_ips": "use --trust",
    "protocol": _HTTP2,
    "uwsgi_allow_ips": _HTTP2,
    "http_protocols": _HTTP2,
    "http2_cleartext": _HTTP2,
    "http2_max_concurrent_streams": _HTTP2,
    "http2_initial_window_size": _HTTP2,
    "http2_max_frame_size": _HTTP2,
    "http2_max_header_list_size": _HTTP2,
    "permit_obsolete_folding": _PARSER,
    "strip_header_spaces": _PARSER,
    "permit_unconventional_http_method": _PARSER,
    "permit_unconventional_http_version": _PARSER,
    "casefold_http_method": _PARSER,
    "http_parser": _PARSER,
    "asgi_loop": _ASGI,
    "asgi_lifespan": _ASGI,
    "asgi_disconnect_grace_period": _ASGI,
    "websocket_max_message_size": _ASGI,
    "root_path": "set SCRIPT_NAME in a WSGI middleware",
    "dirty_apps": _DIRTY,
    "dirty_workers": _DIRTY,
    "dirty_timeout": _DIRTY,
    "dirty_threads": _DIRTY,
    "dirty_graceful_timeout": _DIRTY,
    "on_dirty_starting": _DIRTY,
    "dirty_post_fork": _DIRTY,
    "dirty_worker_init": _DIRTY,
    "dirty_worker_exit": _DIRTY,
    "control_socket": "the control socket is off",
    "control_socket_mode": "the control socket is off",
}

_NEEDS_A_NUMBER = {
    "keepalive": "client and application decide whether a connection is kept",
    "limit_request_line": "there must be a limit",
    "limit_request_fields": "there must be a limit",
    "worker_connections": "nobody could connect",
}


def refuse_unhonoured(cfg: Any) -> None:
    """Raises ValueError that names every setting of `cfg` that would have no effect."""
    wrong = [
        f"{name}: {REFUSED.get(name, 'ctwsgi does not know it')}"
        for name, setting in sorted(cfg.settings.items())
        if name not in HONOURED and _is_gunicorns(setting) and _is_changed(setting)
    ]
    wrong += [
        f"{name} 0: {why}" for name, why in _NEEDS_A_NUMBER.items() if getattr(cfg, name) == 0
    ]
    if cfg.reload and cfg.reload_engine == "inotify":
        wrong.append("reload_engine inotify: it blocks gevent, use poll")
    if wrong:
        raise ValueError("not honoured by ctwsgi's worker: " + "; ".join(wrong))


def _is_gunicorns(setting: Any) -> bool:
    return bool(type(setting).__module__ == "gunicorn.config")


def _is_changed(setting: Any) -> bool:
    return bool(setting.value != type(setting)().value)
