"""Who reads what first: the reading worklist as an API and as a page.

It reads rows, serves files that rows name, and writes rows. What has to touch the network or pixels is done by a
worker. Imports only :mod:`triage`.
"""
