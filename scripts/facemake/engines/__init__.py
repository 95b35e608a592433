"""The engines: which stages a run has, and what decides the result of each.

`native` has the stages of facemake's own fit, `threedi` those of 3DI and 3DI-lite. A stage that is
not an engine's own is one row, which both have.
"""

from __future__ import annotations

from collections.abc import Mapping

from facemake.engines.native import NATIVE
from facemake.engines.stage import Config, Stage
from facemake.engines.threedi import stages_of


def stages(config: Config) -> Mapping[str, Stage]:
    """The stages of the config's engine, by name."""
    return NATIVE if config["engine"] == "native" else stages_of(config["engine"])
