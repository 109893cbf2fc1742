"""The auditor: known signs of a bad evaluation, one rule each, over the records of a run and of its probes."""
