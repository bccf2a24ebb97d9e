# SPDX-License-Identifier: MIT
"""The codecs. test_auth, test_ctframe, test_proxy, ... test one module each.

The others test all of the codecs: test_reasons has every refusal, test_vectors the headers of other
projects, test_properties generated streams, test_docs the manual's examples.
"""
