# SPDX-License-Identifier: MIT
"""`ctwsgi check`, on recorded rulesets (rulesets/)."""
