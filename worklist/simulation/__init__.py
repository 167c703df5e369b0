"""What the order of the list is worth here: the same day read first-in-first-out, by class alone, and by our order.

Pure: cases in, waits out. The journey: :mod:`scenarios` or a site's own history give :mod:`cases`; :mod:`reading` plays
them under each of the :mod:`policies`; :mod:`measures` compares what became of whom.
"""
