# SPDX-License-Identifier: MIT
"""WSGIServer and its greenlets."""
