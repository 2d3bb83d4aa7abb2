# SPDX-License-Identifier: Apache-2.0
"""Ends without publishing anything."""
