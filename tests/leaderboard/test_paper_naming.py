"""How a paper spells the defenses of libraries."""

from __future__ import annotations

from bench.leaderboard.paper.naming import defense_names
from bench.suites.spec import DefenseSpec


def test_a_librarys_defense_keeps_the_librarys_name() -> None:
    defenses = [
        DefenseSpec(id="art.SpatialSmoothing-window_size3", name="art.SpatialSmoothing", args={"window_size": 3}),
        DefenseSpec(id="art.FeatureSqueezing", name="art.FeatureSqueezing", args={"bit_depth": 8}),
        DefenseSpec(id="feature_squeezing", name="feature_squeezing"),
        DefenseSpec(id="ours", name="art.Rounded"),
    ]
    assert list(defense_names(defenses).values()) == [
        "SpatialSmoothing (ART, window size 3)",
        "FeatureSqueezing (ART)",
        "Feature squeezing",
        "ours",
    ]
