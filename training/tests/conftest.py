# SPDX-License-Identifier: MPL-2.0
"""Where real data lie, and how a skipped test is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Steps are small: on a busy machine threads wait for each other more than they compute.
torch.set_num_threads(1)


def _real(variable: str, what: str) -> Path:
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{what} is not here; name it in {variable}")
    if not Path(place).exists():
        pytest.fail(f"{variable}={place}: there is no such file")
    return Path(place)


@pytest.fixture
def stress_predict_path() -> Path:
    return _real("MVP_STRESS_PREDICT", "the Stress-Predict data set")


@pytest.fixture
def expressions_path() -> Path:
    return _real("MVP_EXPRESSIONS", "the expression blendshapes (.npz)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(
            f"SKIPPED {report.nodeid}: {str(reason).removeprefix('Skipped: ')}"
        )
