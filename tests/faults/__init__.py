"""The fault rig: breaks a running product in every way of the catalogue and checks what it promised."""
