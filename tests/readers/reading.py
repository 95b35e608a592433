"""Reads exports with packages that are not ours; runs in their environment (setup.py beside it).

    python reading.py READER ...   # pybids FOLDER, rocrate FOLDER, pyfeat FEX OPENFACE,
                                   # validate CACHE FOLDER PROFILE FOLDER PROFILE ...

What was found is printed as JSON.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

SCHEMA = "http://schema.org/"
RUN = "https://w3id.org/ro/terms/workflow-run#"
TERMS = (
    *("Collection", "ComputerLanguage", "ControlAction", "CreateAction", "CreativeWork"),
    *("Dataset", "HowTo", "HowToStep", "Organization", "OrganizeAction", "Person"),
    *("PropertyValue", "SoftwareApplication", "SoftwareSourceCode", "about", "actionStatus"),
    *("additionalType", "agent", "alternateName", "author", "citation", "contentSize"),
    *("creator", "datePublished", "description", "encodingFormat", "endTime", "exampleOfWork"),
    *("hasPart", "identifier", "instrument", "license", "mainEntity", "mentions", "name"),
    *("object", "position", "programmingLanguage", "result", "softwareRequirements"),
    *("softwareVersion", "startTime", "step", "url", "value", "version", "workExample"),
)
"""Of schema.org, that our crates use and RO-Crate 1.1 takes under their own names."""
CONTEXTS: dict[str, dict[str, str]] = {
    "https://w3id.org/ro/crate/1.1/context": {
        **{term: SCHEMA + term for term in TERMS},
        "File": SCHEMA + "MediaObject",
        "conformsTo": "http://purl.org/dc/terms/conformsTo",
        "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
        "FormalParameter": "https://bioschemas.org/FormalParameter",
        "input": "https://bioschemas.org/ComputationalWorkflow#input",
        "output": "https://bioschemas.org/ComputationalWorkflow#output",
    },
    "https://w3id.org/ro/terms/workflow-run/context": {"sha256": RUN + "sha256"},
}
"""Address of a vocabulary -> what it maps our terms to (RO-Crate 1.1, "Additional metadata
standards"; ro-terms, workflow-run). The validator has no copies, and tests have no network: a term
that is not here is one that it refuses."""


def pybids(folder: str) -> dict[str, Any]:
    from bids.layout import BIDSLayout

    layout = BIDSLayout(folder, validate=False, is_derivative=True)
    tables = layout.get(suffix="beh", extension=".tsv")
    return {
        "subjects": sorted(layout.get_subjects()),
        "tasks": sorted(layout.get_tasks()),
        "rows": {one.filename: len(one.get_df()) for one in tables},
        "units": {one.filename: one.get_metadata()["time"]["Units"] for one in tables},
    }


def rocrate(folder: str) -> dict[str, Any]:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(folder)
    whole = next(one for one in crate.get_by_type("CreateAction") if one.id == "#run")
    return {
        "workflow": crate.mainEntity.id,
        "files": sorted(one.id for one in crate.get_by_type("File")),
        "actions": sorted(one.id for one in crate.get_by_type("CreateAction")),
        "instrument": whole["instrument"].id,
    }


def validate(cache: str, *wanted: str) -> list[list[str]]:
    """What a crate lacks of what a profile requires, of folder, profile, folder, profile ...

    No network is asked.
    """
    _fill(cache)
    from rocrate_validator import services
    from rocrate_validator.models import ValidationSettings

    found = []
    for folder, profile in zip(wanted[::2], wanted[1::2], strict=True):
        result = services.validate(
            ValidationSettings(
                rocrate_uri=folder,
                profile_identifier=profile,
                requirement_severity="REQUIRED",
                offline=True,
                cache_path=Path(cache),
            )
        )
        found.append([one.message for one in result.get_issues()])
    return found


def _fill(cache: str) -> None:
    """Put the vocabularies where the validator looks before it asks for them."""
    from requests import Response
    from requests.adapters import BaseAdapter
    from requests_cache import CachedSession
    from urllib3 import HTTPResponse

    class Known(BaseAdapter):
        def send(self, request: Any, **_: Any) -> Response:
            answer = Response()
            answer.status_code, answer.url, answer.request = 200, request.url, request
            body = json.dumps({"@context": CONTEXTS[request.url]}).encode()
            answer.headers["Content-Type"] = "application/ld+json"
            answer.raw = HTTPResponse(
                io.BytesIO(body), headers=answer.headers, status=200, preload_content=False
            )
            return answer

        def close(self) -> None:
            pass

    session = CachedSession(cache, backend="sqlite", expire_after=-1, allowable_methods=("GET",))
    session.mount("https://", Known())
    for url in CONTEXTS:
        session.get(url, headers={"Accept": "application/ld+json, application/json"})
    session.close()


def pyfeat(fex: str, openface: str) -> dict[str, Any]:
    from feat.utils.io import read_feat, read_openface

    ours, other = read_feat(fex), read_openface(openface)
    return {
        "rows": [len(ours), len(other)],
        "aus": [list(ours.aus.columns), list(other.aus.columns)],
        "au12": [ours.aus["AU12"].tolist(), other.aus["AU12_r"].tolist()],
        "pitch": [ours.poses["Pitch"].tolist(), other.poses["pose_Rx"].tolist()],
        "x": [ours.landmarks["x_30"].tolist(), other.landmarks["x_30"].tolist()],
        "boxes": list(ours.faceboxes.columns),
    }


if __name__ == "__main__":
    readers = {f.__name__: f for f in (pybids, rocrate, validate, pyfeat)}
    json.dump(readers[sys.argv[1]](*sys.argv[2:]), sys.stdout)
