"""The audit's probes: small extra attacks on one fixed subset, which show whether those of the suite were strong enough.

What they find is recorded in :mod:`bench.store.probes`; what it means, the rules of :mod:`bench.audit` say.
"""
