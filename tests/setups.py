"""What the setups for tests have left, for fixtures."""

from __future__ import annotations

import pytest

from debian import Setup


def found(setup: Setup, name: str, target: str) -> dict[str, str]:
    """What there is of `name`; skips the test where that is nothing.

    `target` is what makes it: `make TARGET`.
    """
    left = setup.state().get(name, {})
    if not left:
        pytest.skip(f"{name} is not set up: `make {target}` does that")
    if "missing" in left:
        pytest.skip(f"no {name} on this machine: {left['missing']}")
    return left
