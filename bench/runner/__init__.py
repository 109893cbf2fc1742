"""The runner: from a suite to its records. Preflight, worker, judge, shards, provenance, progress."""
