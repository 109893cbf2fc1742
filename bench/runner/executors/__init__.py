"""Executors turn shards into outcomes or failures; the driver alone plans and writes."""
