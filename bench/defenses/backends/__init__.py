"""Defenses of libraries by their own names: the library's computation inside ours."""
