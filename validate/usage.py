"""A command line that cannot be read: what was found, what was expected, and one that can."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

SAMPLES = {
    "speedup": "--alpha .75 --c .02",
    "run": "--draft lookup --k 4 --out runs/first",
    "profile": "--draft lookup --draft ngram",
    "cost": "--lengths 1-8 --context 128,512",
    "lossless": "--draft early:27 --temperature .8",
    "fit": "runs/first",
    "plan": "--target Llama-3.1-70B --draft mtp --alpha .7 --gpu h100 --rate 20 --prompt 1000 --output 300 --tpot 20ms",
}
EXPECTED = {
    r".*greater than or equal to (\S+)": r"at least \1",
    r".*less than or equal to (\S+)": r"at most \1",
    r".*valid integer.*": "a whole number",
    r".*valid number.*": "a number",
    r".*not one of (.*?)\.?": r"one of \1",
}
USAGE: Any = typer.BadParameter.__base__


class Once(TyperCommand):
    """A command whose options are given once, but for those that collect what they are given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a second value, which would take the place of the first without a word."""
        given = Counter(self.make_parser(ctx).parse_args(args=list(args))[2])
        for option, count in given.items():
            if count > 1 and not getattr(option, "multiple", False) and option.param_type_name == "option":
                values = ", ".join(_values(option.opts, args)) or f"{count} of it"
                raise ValueError(f"{option.opts[0]}: found {values}, expected it once: leave the others out")
        return super().parse_args(ctx, args)


def explained(error: Any, arguments: Sequence[str]) -> str:
    """The one line for an error of typer's."""
    context, parameter, kind = error.ctx, getattr(error, "param", None), type(error).__name__
    command = context.command if context else None
    if kind == "NoSuchOption":
        expected = f"{'one' if _group(command) else 'some'} of {', '.join(_known(command))}"
        return f"found {error.option_name}, expected {expected}{_sample(context, arguments)}"
    if _group(command):
        found = next((word for word in arguments if not word.startswith("-")), "")
        return f"found {found!r}, expected one of {', '.join(_known(command))}{_sample(context, arguments)}"
    if kind == "MissingParameter":
        return f"found no {_name(parameter)}, expected it{_sample(context, arguments)}"
    if kind == "BadOptionUsage" and "requires" in error.message:
        return f"{error.option_name}: found nothing after it, expected a value{_sample(context, arguments)}"
    if parameter is None:
        return f"{error.format_message().rstrip('.')}{_sample(context, arguments)}"
    found = ", ".join(_values(parameter.opts, arguments))
    return f"{_name(parameter)}: found {found}, expected {_expected(error.message)}{_sample(context, arguments)}"


def _expected(message: str) -> str:
    for pattern, words in EXPECTED.items():
        if found := re.fullmatch(pattern, message):
            return found.expand(words)
    return f"something else ({message})"


def _group(command: Any) -> bool:
    return hasattr(command, "commands")


def _known(command: Any) -> list[str]:
    """Commands of a group, options of a command."""
    return list(command.commands) if _group(command) else [p.opts[0] for p in command.params if p.opts]


def _name(parameter: Any) -> str:
    return parameter.opts[0] if parameter.param_type_name == "option" else parameter.name


def _sample(context: Any, arguments: Sequence[str]) -> str:
    words = [context.info_name] if context and context.info_name in SAMPLES else arguments
    name = next((word for word in words if word in SAMPLES), next(iter(SAMPLES)))
    return f", as in: specmath {name} {SAMPLES[name]}"


def _values(names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """What an option was given, as it was typed."""
    after = zip(arguments, [*arguments[1:], ""], strict=True)
    spelled = [(word.partition("=")[2] if "=" in word else value, word.partition("=")[0]) for word, value in after]
    return [value for value, name in spelled if name in names and value]
