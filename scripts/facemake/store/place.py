"""Where the artifact cache is: its folder, the store in it, and that a run uses them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def cache_folder(config: Mapping[str, Any]) -> Path | None:
    """The private cache folder of the config, None where it is off."""
    cache = config["cache_dir"]
    return Path(cache).expanduser().absolute() if cache else None


def use(config: Mapping[str, Any]) -> bool:
    """Point Snakemake's between-workflow cache to the private store, unless the user has already.

    Returns:
        False where the config turns the cache off.
    """
    folder = cache_folder(config)
    if folder is None:
        return False
    if not os.environ.get("SNAKEMAKE_OUTPUT_CACHE"):
        from facemake.hashes import private_folder

        store = private_folder(private_folder(folder) / "store")
        os.environ["SNAKEMAKE_OUTPUT_CACHE"] = str(store)
    if chosen() is not None:
        from facemake.store.lock import hold

        hold(Path(os.environ["SNAKEMAKE_OUTPUT_CACHE"]))
    return True


def chosen() -> Path | None:
    """The store that `use` chose; None where it is no folder (an address, say)."""
    named = os.environ.get("SNAKEMAKE_OUTPUT_CACHE")
    return Path(named) if named and Path(named).is_dir() else None


def note_use(config: Mapping[str, Any], done: bool) -> None:
    """Write down in the store that results here link to it.

    Args:
        config: of the run, filled with its defaults.
        done: the run ends; else it begins.
    """
    store = chosen()
    if store is None or cache_folder(config) is None:
        return
    from facemake.store import users

    note = users.note_links if done else users.register
    try:
        note(store, Path.cwd(), Path(config["outdir"]))
    except OSError as error:
        logger.warning(
            "%s does not know of the results here (%s): facemake cache prune may remove what they "
            "link to",
            store,
            error,
        )
