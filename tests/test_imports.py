"""Third parties import, quietly, on this build of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "_imports.torchvision('torchvision.models').resnet18()",
        "assert _imports.timm().is_model('resnet50') and _imports.timm('timm.models._hub').has_hf_hub()",
        "assert callable(_imports.robustbench('robustbench.utils').load_model); _imports.prepare_torchvision();"
        "from autoattack import AutoAttack; from autoattack.state import EvaluationState",
    ],
)
def test_imports_in_a_fresh_process_without_a_warning(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"from bench import _imports; {code}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
