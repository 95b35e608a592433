"""facemake completion: what a shell needs to complete our command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_HOW = {
    "bash": 'eval "$(facemake completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(facemake completion zsh)"    # in ~/.zshrc, below compinit',
    "fish": "facemake completion fish > ~/.config/fish/completions/facemake.fish",
}


@dataclass
class Node:
    """A command, or the command line itself.

    Attributes:
        path: the words that lead to it.
        about: what it does, in a line.
        options: option -> its help, whether it takes a value, and which values there are.
        choices: values of its positional arguments.
        below: commands below it, by name.
    """

    path: tuple[str, ...]
    about: str = ""
    options: dict[str, tuple[str, bool, list[str]]] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    below: dict[str, Node] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        """It, and all below it."""
        yield self
        for node in self.below.values():
            yield from node


def tree(parser: argparse.ArgumentParser, path: tuple[str, ...] = (), about: str = "") -> Node:
    """What a parser takes."""
    node = Node(path, about)
    for action in parser._actions:
        values = [] if action.choices is None else [str(value) for value in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, sub in action.choices.items():
                node.below[name] = tree(sub, (*path, name), helps.get(name, ""))
        elif action.option_strings:
            said = parser._get_formatter()._expand_help(action) if action.help else ""
            for option in action.option_strings:
                node.options[option] = (said, action.nargs != 0, values)
        else:
            node.choices += values
    return node


def bash(node: Node) -> str:
    """For bash; where we have no words, it completes names of files."""
    known = "|".join(f'" {" ".join(one.path)}"' for one in node if one.path)
    words = [
        f'    " {" ".join(one.path)}") echo "{" ".join([*one.below, *one.choices])}" ;;'
        for one in node
        if one.path and (one.below or one.choices)
    ]
    options = [
        f'    " {" ".join(one.path)}") echo "{" ".join(one.options)}" ;;'
        for one in node
        if one.path
    ]
    values = [
        f'    " {" ".join(one.path)} {option}") echo "{" ".join(choices)}" ;;'
        for one in node
        for option, (_, _, choices) in one.options.items()
        if choices
    ]
    return "\n".join(
        [
            "_facemake_words() {",
            '  case "$1" in',
            f'    "") echo "{" ".join(node.below)}" ;;',
            *words,
            "  esac",
            "}",
            "_facemake_options() {",
            '  case "$1" in',
            f'    "") echo "{" ".join(node.options)}" ;;',
            *options,
            "  esac",
            "}",
            "_facemake_values() {",
            '  case "$1 $2" in',
            *values,
            "  esac",
            "}",
            "_facemake() {",
            '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"',
            '  local path="" words="" before="" i',
            '  case "$cur" in',
            '    --*=*) before="${cur%%=*}="; prev="${cur%%=*}"; cur="${cur#*=}" ;;',
            '    =) cur="" ;;  # bash breaks words there',
            "  esac",
            '  if [[ "$prev" == "=" ]]; then',
            '    prev="${COMP_WORDS[COMP_CWORD-2]}"',
            "  fi",
            "  for ((i = 1; i < COMP_CWORD; i++)); do",
            '    case "$path ${COMP_WORDS[i]}" in',
            f'      {known}) path="$path ${{COMP_WORDS[i]}}" ;;',
            "    esac",
            "  done",
            '  words="$(_facemake_values "$path" "$prev")"',
            '  if [[ -z "$words" ]]; then',
            '    if [[ "$cur" == -* ]]; then',
            '      words="$(_facemake_options "$path")"',
            "    else",
            '      words="$(_facemake_words "$path")"',
            "    fi",
            "  fi",
            '  COMPREPLY=($(compgen -P "$before" -W "$words" -- "$cur"))',
            "}",
            "complete -o bashdefault -o default -F _facemake facemake",
            "",
        ]
    )


def zsh(node: Node) -> str:
    """For zsh, by its own way to use a script of bash."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash(node)}"


def fish(node: Node) -> str:
    """For fish, with what each word means."""
    lines = []
    for one in node:
        *above, last = ("", *one.path)
        here = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in (*above[1:], last))
        when = f"{here}; and " if one.path else ""
        if one.below:
            none_yet = f"not __fish_seen_subcommand_from {' '.join(one.below)}"
            condition = f"{when}{none_yet}"
            lines += [
                f"complete -c facemake -f -n {_quoted(condition)} -a {name} -d {_quoted(sub.about)}"
                for name, sub in one.below.items()
            ]
        condition = here if one.path else "__fish_use_subcommand"
        if one.choices:
            values = _quoted(" ".join(one.choices))
            lines.append(f"complete -c facemake -f -n {_quoted(condition)} -a {values}")
        for option, (said, takes, chosen) in one.options.items():
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            line = f"complete -c facemake -n {_quoted(condition)} {flag} -d {_quoted(said)}"
            line += " -r" if takes else ""
            lines.append(line + (f" -f -a {_quoted(' '.join(chosen))}" if chosen else ""))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help="print what bash, zsh or fish needs to complete this command line",
        description="Print a script with which a shell completes commands, options and values.",
        epilog="; ".join(_HOW.values()),
    )
    parser.add_argument(
        "shell", choices=list(_SHELLS), metavar="SHELL", help=f"one of {', '.join(_SHELLS)}"
    )
    parser.set_defaults(function=_completion)


def _completion(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.cli import parser

    print(_SHELLS[options.shell](tree(parser())), end="")
    return 0
