"""Bad input and the right behaviour, case by case, against the running product; the list is `catalogue.py`."""
