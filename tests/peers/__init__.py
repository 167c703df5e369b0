"""Neighbours that tests start: private instances on free ports of loopback, in folders of their own."""
