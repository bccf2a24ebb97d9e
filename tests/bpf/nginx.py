# SPDX-License-Identifier: MIT
"""The beginning of a configuration for nginx, which writes only into its folder."""

HEAD = """
daemon off; error_log stderr warn; pid {folder}/pid; events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
"""
"""A `server` and the brace that closes `http` are to follow; str.format() fills in `folder`."""
