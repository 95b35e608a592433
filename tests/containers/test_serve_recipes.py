"""The recipes of the service's images, read: two of them can be no more than read here."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys

import pytest
import yaml

from conftest import ROOT
from facemake.cli import serve, serve_embed

FOLDER = ROOT / "containers"
RECIPES = sorted((FOLDER / "serve").glob("Dockerfile.*"))
KNOWN = {
    *("ARG", "FROM", "RUN", "ENV", "LABEL", "USER", "WORKDIR", "ENTRYPOINT", "CMD", "COPY"),
    *("HEALTHCHECK", "SHELL", "STOPSIGNAL"),
}
"""Docker's instructions but for those that have no place here: ADD fetches, EXPOSE and VOLUME give
more than was asked for, ONBUILD acts elsewhere, MAINTAINER is of old."""
README = (FOLDER / "README.md").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """As Docker reads them: comments out, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, re.sub(r"\s+", " ", rest).strip()) for name, _, rest in found]


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_to(parser.add_subparsers())
    return parser.parse_args(words)


def test_there_are_those_of_the_readme():
    assert [path.name for path in RECIPES] == ["Dockerfile.rknn", "Dockerfile.rocm"]
    for path in RECIPES:
        assert re.search(rf"`serve/{path.name}`.*\| parsed and linted only \|", README)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_that_is_never_built_says_so_and_is_whole(path):
    text = path.read_text()
    assert text.startswith("# PARSED AND LINTED ONLY: never built and never run")
    found = instructions(text)
    names = [name for name, _ in found]
    assert set(names) <= KNOWN
    # the base by an argument without a default, so that it has to be named: by its digest
    assert found[:2] == [("ARG", "BASE"), ("FROM", "${BASE}")]
    assert names.count("FROM") == names.count("ARG") == 1
    assert re.search(r"^# BASE: [\w/-]+@sha256:", text, re.M)
    # nobody's secret, and nobody's rights but a number's that is no user of the machine's
    assert not re.search(r"token|secret|password|api.?key|credential", text, re.I)
    users = [rest for name, rest in found if name == "USER"]
    assert len(users) == 1 and re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[0])
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    # quoted as a shell would, and from the lock by its hashes
    stack = path.name.replace("Dockerfile.", "serve-")
    for name, rest in found:
        if name == "RUN":
            words = [word for word in shlex.split(rest) if not word.startswith("--mount=")]
            step, argument = words
            assert (FOLDER / step.removeprefix("/opt/recipe/containers/")).is_file()
            assert argument == stack
    install = (FOLDER / "steps" / "install.sh").read_text()
    (locks,) = re.findall(rf'^    {stack}\) locks="?([^";]+)"? ;;', install, re.M)
    for lock in locks.split():
        packages = re.findall(
            r"^[a-z0-9].*$(?:\n +.*)*", (ROOT / "requirements" / lock).read_text(), re.M
        )
        assert packages and all("==" in p and "--hash=sha256:" in p for p in packages), lock
    # what it starts is a command of ours
    (entry,) = [json.loads(rest) for name, rest in found if name == "ENTRYPOINT"]
    assert entry[0] == "facemake"
    assert arguments(entry[1:]).embed and names[-1] == "ENTRYPOINT"


def test_the_commands_of_the_readme_are_ours():
    text = README[README.index("## The service for embeddings") :]
    commands = re.findall(r"^docker run (?:.*\\\n)*.*", text, re.M)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        image = next(i for i, word in enumerate(words) if word.startswith("facemake-serve"))
        ours = words[image + 1 :]
        found = arguments(ours if ours[0] == "serve" else ["serve", "--embed", *ours])
        assert found.embed
        # reached from this machine alone unless somebody says otherwise
        assert words[words.index("-p") + 1].startswith("127.0.0.1:")
        assert "--privileged" not in words and "host" not in words
    for stack in re.findall(r"`STACK=([\w-]+)`", text):
        sys.path.insert(0, str(FOLDER))
        import build_images

        assert stack in build_images.SERVICES


def test_what_an_image_takes_from_several_locks_is_one_version():
    sys.path.insert(0, str(FOLDER))
    import build_images

    for stack in build_images.WHOLE:
        pinned: dict[str, str] = {}
        for name in build_images.locks(stack)[2:]:
            lock = (ROOT / "requirements" / f"{name}.txt").read_text()
            for package, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.M):
                assert pinned.setdefault(package, version) == version, (stack, package)


def test_the_last_words_of_a_build_say_how_it_is_started():
    sys.path.insert(0, str(FOLDER))
    import build_images

    for stack in build_images.SERVICES:
        for engine, end in (("docker", ""), ("apptainer", ".sif")):
            said = build_images.usage(engine, {stack: f"facemake-{stack}{end}"})
            assert "The service for embeddings" in said and "The whole workflow" not in said
            words = shlex.split(said.splitlines()[-1])
            options = arguments(words[words.index("serve") :])
            assert options.embed and (options.device == "cuda") == (stack == "serve-cuda")
            serve_embed.on_cpu(options)  # something computes where it is asked to


def test_an_image_of_pytorch_for_gpus_is_named_in_the_place_of_its_stack():
    sys.path.insert(0, str(FOLDER))
    import build_images

    for built, wanted in (
        ({"train-gpu": "b.sif"}, {"train": "b.sif"}),
        (
            {"core": "c.sif", "train": "a.sif", "train-gpu": "b.sif"},
            {"core": "c.sif", "train": "a.sif"},
        ),
    ):
        said = build_images.usage("apptainer", built)
        assert yaml.safe_load(said[said.index("containers:") :]) == {"containers": wanted}
