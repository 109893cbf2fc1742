"""The zoo: small trained models, each a card (``<name>.json``) and its weights."""
