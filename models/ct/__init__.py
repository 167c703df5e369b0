"""Series of CT slices: do they make one volume, what a network sees of them, how slices become a study's score."""
