"""The pages that say what the code says: columns.md, licences.md and command-line.md.

    python docs/generated.py

writes them again; a test holds them against the code.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from facemake.backends.aus import AU_COLUMNS
from facemake.backends.aus.proxy import UNITS
from facemake.backends.fit.builtin import load_builtin
from facemake.backends.fit.localize import units
from facemake.cli import parser
from facemake.dataset.quality import REASONS
from facemake.facemodels import SOURCES
from facemake.models import registry
from facemake.nn.action_units import AU_DESCRIPTIONS
from facemake.status import FrameStatus, SampleStatus
from facemake.tables import SCHEMAS, coefficient_schema

FRAMES = {
    FrameStatus.OK: "measured",
    FrameStatus.NO_FACE: "no face in this frame (track 0 has a row for every frame)",
    FrameStatus.LOST: "inside a track, but not seen in this frame",
    FrameStatus.LOW_CONFIDENCE: "a face, whose landmarks the network does not trust",
    FrameStatus.NOT_CONVERGED: "landmarks, to which the face model could not be fitted",
    FrameStatus.DECODE_ERROR: "a frame that the decoder gives up on",
}
SAMPLES = {
    SampleStatus.OK: "frames, and faces in them",
    SampleStatus.NO_FACE: "frames, and no face in any",
    SampleStatus.UNREADABLE: "its file cannot be decoded",
    SampleStatus.TRUNCATED: "cut off; the frames that are there are measured",
    SampleStatus.NO_VIDEO_STREAM: "a recording without pictures",
    SampleStatus.NO_IMAGES: "a folder without pictures",
    SampleStatus.NO_PERMISSION: "you may not read it",
    SampleStatus.EXCLUDED: "by the sheet, or by `dataset.exclude`; its reason is kept",
}
SHOWN = {
    "probe": "a sample",
    "detections": "a frame and track",
    "landmarks": "a frame and track",
    "fit": "a frame and track",
    "smooth": "a frame and track",
    "identity": "a track",
    "expressions": "a frame and track",
    "aus": "a frame and track",
    "embeddings": "a chosen frame",
    "people": "a track, or a face of a picture that stands alone",
    "counts": "a sample",
    "manifest": "a sample",
    "extract": "a crop",
}
"""Table -> what a row of it is."""
PLAIN = {
    "sample": "its name in the sheet",
    "track": "0 is the main face",
    "status": "see above",
    "reason": "why, in words",
    "kind": "video, image or images",
    "codec": "of the video stream",
    "vfr": "whether the frame rate varies",
    "sha256": "of the file; of a folder, of its pictures",
    "scheme": "which points these are: mediapipe478, ibug68, ibug51",
    "converged": "whether the fit settled",
    "subject": "the person, in the sheet",
    "split": "train, val or test",
    **{f"rejected_{reason}": f"of these, not kept: {words}" for reason, words in REASONS.items()},
}
"""Columns that need a word more than their unit, or have none."""


def table(*rows: Iterable[str]) -> str:
    """Markdown of rows, the first of which is the head."""
    head, *rest = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def columns() -> str:
    """Statuses, action units and the columns of each table."""
    model = load_builtin()
    schemas = {
        **SCHEMAS,
        "expressions": coefficient_schema(model.expression_names, units(model)),
        "aus": coefficient_schema(AU_COLUMNS, UNITS),
    }
    parts = [
        "# Every column\n",
        "<!-- Written by docs/generated.py. -->\n",
        "The tables' own metadata say the same: units are in each Parquet file.\n",
        "## Statuses\n",
        "Of a frame:\n",
        table(("status", "means"), *((f"`{k}`", v) for k, v in FRAMES.items())),
        "Of a sample, always with a `reason` in words:\n",
        table(("status", "means"), *((f"`{k}`", v) for k, v in SAMPLES.items())),
        "## Action units and their names\n",
        "The words are those of the Facial Action Coding System.\n",
        table(
            ("column", "movement", "is"),
            *(
                (f"`{au}`", words, UNITS[AU_COLUMNS.index(au)])
                for au, words in AU_DESCRIPTIONS.items()
            ),
        ),
    ]
    for name, row in SHOWN.items():
        parts += [
            f"## {name}\n",
            f"A row is {row}.\n",
            table(
                ("column", "type", "is"),
                *(
                    (
                        f"`{field.name}`",
                        str(field.type).replace("list<element: float>", "list of float"),
                        PLAIN.get(field.name) or (field.metadata or {}).get(b"unit", b"").decode(),
                    )
                    for field in schemas[name]
                ),
            ),
        ]
    return "\n".join(parts)


def licences() -> str:
    """The registry of models, and the face models that a user builds."""
    rows = [
        (
            f"`{row.name}`",
            row.task,
            "by you"
            if row.made
            else "by its maker, on request"
            if row.gated
            else f"package {row.package}"
            if row.package
            else "`facemake models fetch`",
            row.licence,
            row.citation,
        )
        for row in registry().values()
    ]
    return "\n".join(
        [
            "# Licences of models\n",
            "<!-- Written by docs/generated.py. -->\n",
            "MIT is the licence of facemake's own code. Models keep their makers' own, and what a "
            'licence allows you is between you and its maker: "for non-commercial research" and '
            '"trained on" are worth reading before you publish or sell. `facemake models list` '
            "prints this with the SHA-256 that a file must have, `facemake provenance FILE` which "
            "of them made a file, each with its licence and citation; [how to cite](citing.md).\n",
            table(("model", "for", "got by", "licence", "citation"), *rows),
            "## Face models that you build\n",
            "They are built from their makers' files (`facemake models build NAME FOLDER`) and "
            "never fetched.\n",
            table(("name", "from"), *((f"`{name}`", files) for name, files in SOURCES.items())),
            "3DI and 3DI-lite are programs of their makers, which want the Basel Face Model: "
            "[3DI](3di.md).\n",
        ]
    )


FIRST = """\
Each command has `--help`, with an example. From a folder of recordings to the report it takes three
([your own data](your-own-data.md)):

<!-- run by tests/cli/test_init.py -->
```sh
facemake init ~/recordings -d my_study
facemake run -d my_study
xdg-open my_study/results/report/index.html
```

`facemake doctor` checks environment, GPU, decoders, containers, SLURM, 3DI, models, cache,
configuration and sheet, and gives the cure for each fault. It changes nothing, sends nothing and
cannot hang; its exit code is 1 if there is a fault. A run checks the models and packages of its
stages before its first job, and lists everything that is missing at once.

`facemake completion SHELL` prints what a shell needs to complete commands, options and values:

<!-- run by tests/cli/test_completion.py -->
```sh
eval "$(facemake completion bash)"       # in ~/.bashrc
eval "$(facemake completion zsh)"        # in ~/.zshrc, below compinit
facemake completion fish > ~/.config/fish/completions/facemake.fish
```

**Exit codes**, the same of every command:

- 0: it is done; of a run also where samples gave nothing, up to `max_failed_fraction`
- 1: it was done, and something failed or is not as it should be: a job of a run, a comparison, a
  check; `facemake run` ends so, too, where Snakemake itself refuses something
- 2: it could not be done: an argument, the configuration or the sheet is refused, a model or a
  package is missing, a disk is full; the message names the cure
- 130: it was interrupted (Ctrl-C)
- 143: it was ended by SIGTERM
"""


def command_line() -> str:
    """Every command, with its options and an example, as its parser has them."""
    parts = ["# The command line\n", "<!-- Written by docs/generated.py. -->\n", FIRST]

    def add(parser: argparse.ArgumentParser, name: str, about: str) -> None:
        below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if name != "facemake":
            depth = "#" * len(name.split())
            parts.append(f"{depth} {name}\n")
            said = parser.description or (about and f"{about[0].upper()}{about[1:]}.")
            parts.append(f"{html.escape(said, quote=False)}\n")
        expand = parser._get_formatter()._expand_help
        rows = [
            (f"`{_named(action)}`", html.escape(expand(action) if action.help else "", quote=False))
            for action in parser._actions
            if action not in below and not isinstance(action, argparse._HelpAction)
        ]
        if name != "facemake" and rows:
            parts.append(table(("argument", "meaning"), *rows))
        if name != "facemake" and parser.epilog:
            words, examples = _parted(parser.epilog)
            if words:
                parts.append(f"{html.escape(words, quote=False)}\n")
            parts.append(f"```text\n{examples}\n```\n")
        for action in below:
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for word, sub in action.choices.items():
                add(sub, f"{name} {word}", helps.get(word, ""))

    add(parser(), "facemake", "")
    return "\n".join(parts).replace(str(Path.home()), "~")


def _parted(epilog: str) -> tuple[str, str]:
    """Words that stand before the examples, a paragraph each, and the examples, one a line."""
    if "\n" in epilog:
        return "", epilog
    words, _, examples = epilog.rpartition("example")
    examples = examples.removeprefix("s").removeprefix(": ")
    paragraphs = re.sub(r"\. (?=\w+: \w+: )", ".\n\n", words.strip())
    return paragraphs, "\n".join(
        f"example: {line}" for line in re.split(r"; (?=facemake |eval )", examples)
    )


def _named(action: argparse.Action) -> str:
    """An argument as it is typed."""
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        return f"{value} ..." if action.nargs in ("+", "*") else str(value)
    value = "" if action.nargs == 0 else f" {value}"
    return ", ".join(action.option_strings) + value


PAGES = {"columns.md": columns, "licences.md": licences, "command-line.md": command_line}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(__file__).parent / name).write_text(page(), encoding="utf-8")
    sys.exit(0)
