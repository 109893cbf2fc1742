"""Suites: one YAML file says what to evaluate; this package loads, checks and expands it. No torch here."""
