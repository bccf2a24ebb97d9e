# SPDX-License-Identifier: MIT
"""The kernel module's tests: Debian kernels in QEMU, see README.md beside this file."""
