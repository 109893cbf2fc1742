"""The zoo: small trained models, each a card (``<name>.json``) and its weights.

Most are classifiers, which suites take as ``zoo:NAME``; the denoisers among them belong to defenses.
"""
