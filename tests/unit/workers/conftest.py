"""Fixtures of the workers' tests; the node itself is in :mod:`node_under_test`."""

from node_under_test import node, phantom

__all__ = ["node", "phantom"]
