"""`make demo-serve`: the service on a free port of loopback, asked with pictures, then ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from facemake.embedserver.client import EmbedClient
from facemake.media.files import pictures
from facemake.server.settings import TOKEN_VARIABLE


def main(folder: Path) -> int:
    """Start the server, ask it all it can be asked, say what came, and stop it.

    Args:
        folder: of pictures, at least two.
    """
    files = pictures(folder)[:2]
    command = [sys.executable, "-m", "facemake", "serve", "--embed", "--port", "0"]
    print("$ facemake serve --embed --port 0")
    # for everybody on this machine, whatever the user's own servers want
    free = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=free) as server:  # noqa: S603
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            found = re.search(r"listens on (http://\S+)", line)
            if found is None:
                return server.wait() or 1
            print(line, end="")
            with EmbedClient({"host": found[1]}) as client:
                ask(client, found[1], files)
        finally:
            server.terminate()
    print("The server is stopped.")
    return 0


def ask(client: EmbedClient, url: str, files: list[Path]) -> None:
    """Ask a server for the faces of two pictures, their vectors, and how alike they are."""
    says = " ".join(f"-F image=@{path}" for path in files)
    print(f"\n$ curl {says} {url}/v1/detect")
    for path, one in zip(files, client.detect(*files), strict=True):
        for face in one["faces"]:
            box = ", ".join(f"{side:.0f}" for side in face["box"])
            print(f"{path.name}: a face at {box} (x1, y1, x2, y2 px), score {face['score']:.2f}")
    print(f"\n$ curl {says} {url}/v1/embed")
    for path, one in zip(files, client.embed(*files), strict=True):
        for face in one["faces"]:
            vector = face["vector"]
            begins = ", ".join(f"{number:.3f}" for number in vector[:4])
            print(f"{path.name}: {len(vector)} numbers of norm 1: {begins}, ...")
    print(f"\n$ curl {says} {url}/v1/compare")
    said = client.compare(files[0], files[1])
    threshold = said["model"]["same_person"]
    for row in said["similarity"]:
        for similarity in row:
            word = "one person" if similarity >= threshold else "two people"
            print(f"similarity {similarity:.3f}, from {threshold} on one person: {word}")
    model = said["model"]
    print(f"\ndetector {model['detector']}, embedder {model['embedder']}: {model['chip']}")
    for file in model["detector_models"] + model["embedder_models"]:
        print(f"  {file['sha256']}  {file['name']}, {file['licence']}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
