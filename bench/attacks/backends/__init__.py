"""Attacks of libraries, one adapter each: they search, the harness judges."""
