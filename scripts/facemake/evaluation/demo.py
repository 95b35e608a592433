"""`make demo-train`: what came of the training, and both networks asked about one crop."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py

from facemake.evaluation.run import DOCUMENT
from facemake.nn.au_prediction_inference import load_au_predictor
from facemake.nn.landmark_pose_inference import load_predictor


def main(results: Path) -> int:
    """Say what was made and what it is worth.

    Args:
        results: of a run of the target `evaluate`.
    """
    models = results / "models"
    with h5py.File(results / "dataset" / "training_data.h5", "r") as file:
        n = len(file["images"])
        crop = file["images"][n - 1][..., ::-1].copy()
        truth = file["landmarks"][n - 1]
    print(f"\n{n} examples, and what was made of them:")
    for folder in sorted(models.iterdir()):
        made = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        print(f"  {folder}: {', '.join(path.name for path in made)}")

    landmarks = load_predictor(models / "landmark_pose").predict(crop)["landmarks"]
    off = float(((landmarks - truth) ** 2).sum(axis=1).mean() ** 0.5)
    print(f"\nload_predictor('{models / 'landmark_pose'}').predict(crop) of the last example:")
    (x, y), (u, v) = landmarks[30], truth[30]
    print(f"  the tip of the nose is at ({x:.1f}, {y:.1f}) px, the label says ({u:.1f}, {v:.1f});")
    print(f"  68 points are off by {off:.1f} px (root mean square)")
    found = load_au_predictor(models / "au_prediction").predict(crop)["au_dict"]
    strongest = sorted(found, key=lambda name: -found[name])[:3]
    said = ", ".join(f"{name} {found[name]:.2f}" for name in strongest)
    print(f"load_au_predictor('{models / 'au_prediction'}').predict(crop): {said}, ...")

    document = json.loads((results / "evaluation" / DOCUMENT).read_text(encoding="utf-8"))
    print("\nOn held-out frames of the same recording, against this pipeline's own labels:")
    for row in document["targets"]:
        value = "not defined" if row["found"] is None else f"{row['found']:.3f}"
        print(f"  {row['target']}: {value} (target {row['wanted']})")
    print(
        "\nOne drawn-out portrait, a narrow network and a few epochs show that the way works from\n"
        "end to end. They say nothing of how good a network becomes: docs/training.md has more."
    )
    print(f"\nThe page: {(results / 'report' / 'networks.html').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
