"""The store: cell and sample records on disk, written atomically, read without torch."""
