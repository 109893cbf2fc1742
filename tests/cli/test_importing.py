"""What is imported isn't looked at for garbage, and everything made later is."""

from __future__ import annotations

import gc
import weakref

from bench.cli.importing import importing


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_is_collected_again_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with importing():
            kept = [[number] for number in range(100)]
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
        late = weakref.ref(Knot())
        gc.collect()
        assert late() is None
    finally:
        gc.unfreeze()
