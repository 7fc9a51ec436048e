"""Values of flags: their parsing, and suggestions for wrong words."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.config.variables import sole_variable
from pipeline.errors import UsageError
from pipeline.model.quantities import parse_bandwidth, parse_duration
from pipeline.model.units import meant
from pipeline.settings import GivenLogin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_DIGITS = 18
"""Maximum digits of a number: more are a typing error, and int() fails at 4,300."""
_FILES = (".json", ".yaml", ".yml")
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")
_SWITCHES = frozenset(
    {
        "--force",
        "--trust-existing",
        "--quiet",
        "--json",
        "--dry-run",
        "--deep",
        "--tags",
        "--insecure",
        "--all-tags",
    }
)
_INPUT = "-"
"""In place of a password: read it from standard input."""
_LOGINS = frozenset({"--src-creds", "--dest-creds"})
_MAY_BE_EMPTY = frozenset(
    (
        *("--auth", "--images", "--config", "--log", "--namespace", "--registry", "--os", "--arch"),
        *("--proc", "-p", "--records", "--retries", "-r"),
        *("--output-success-images", "--output-images-format"),
    )
)
"""Flags to which scripts for the original tool may pass an empty value."""


def tidied(arguments: Sequence[str]) -> list[str]:
    """Convert what the original accepts and argparse rejects: empty values, `--force=true`, `--force=false`.

    Raises:
        UsageError: `--force=perhaps`.
    """
    kept: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument == "" and kept and kept[-1] in _MAY_BE_EMPTY:
            kept.pop()
        elif equals and name in _MAY_BE_EMPTY and not value:
            continue
        elif not (equals and name in _SWITCHES):
            kept.append(argument)
        elif value.lower() in _TRUE:
            kept.append(name)
        elif value.lower() not in _FALSE and not (name == "--force" and not value):
            raise UsageError(f"{argument}: write {name}=true or {name}=false")
    return kept


def without_secrets(arguments: Sequence[str]) -> tuple[str, ...]:
    """The command line for records, log and output: a password in it becomes `-`."""

    def hidden(words: Iterator[str]) -> Iterator[str]:
        for word in words:
            name, equals, value = word.partition("=")
            if name in _LOGINS and equals:
                yield f"{name}={_without_secret(value)}"
            else:
                yield word
                if name in _LOGINS:
                    yield from (_without_secret(value) for value in (next(words, None),) if value is not None)

    return tuple(hidden(iter(arguments)))


def _without_secret(text: str) -> str:
    user, _, password = text.partition(":")
    return text if sole_variable(password) else f"{user}:{_INPUT}"


def login(text: str) -> GivenLogin:
    """`USER:-`, `USER:$NAME`, `USER:TEXT`; the text is never shown."""
    user, _, password = text.partition(":")
    if not (user and password):
        raise ArgumentTypeError("write USER:- (the password is read from standard input) or USER:$NAME")
    name = sole_variable(password)
    if name:
        return GivenLogin(username=user, variable=name)
    return (
        GivenLogin(username=user, from_input=True)
        if password == _INPUT
        else GivenLogin(username=user, password=password)
    )


def text(given: str) -> str:
    """A text; an unset variable leaves an empty one."""
    if not given:
        raise ArgumentTypeError("it is empty (is a variable not set?)")
    return given


def path(text: str) -> Path:
    """A path; an empty one, from an unset variable, would mean the working directory."""
    if not text:
        raise ArgumentTypeError("is empty: name a path (is a variable unset?)")
    return Path(text)


def whole(least: int) -> Callable[[str], int]:
    """A converter for whole numbers of at least `least`."""

    def convert(text: str) -> int:
        digits = text.lstrip("+-")
        number = int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None
        if number is None or number < least:
            raise ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least {least}")
        return number

    return convert


def seconds(text: str) -> float:
    """`90`, `90s`, `15m`, `1h`, as seconds."""
    return _converted(parse_duration, text)


def bandwidth(text: str) -> float:
    """`20MB/s` as bytes a second."""
    return _converted(parse_bandwidth, text)


def _converted(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def address(text: str) -> tuple[str, int]:
    """`9090`, `:9090` (both on loopback), `0.0.0.0:9090`, `[::]:9090` as host and port."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= _DIGITS and int(port) < 1 << 16):
        raise ArgumentTypeError(f"{text!r} is not an address: write 127.0.0.1:9090")
    return host.strip("[]") or "127.0.0.1", int(port)


def format_by_name(file: Path | None) -> Literal["yaml", "json"]:
    """The format of the list of successes without a flag: by its ending, or YAML."""
    return "json" if file is not None and file.suffix.lower() == ".json" else "yaml"


def meant_verb(words: Sequence[str], verbs: Iterable[str]) -> str:
    """A suggestion for an unknown verb, or for too many or too few arguments after one."""
    first, *rest = words or ("",)
    if first.lower().endswith(_FILES) and not rest:
        return f"; did you mean --images {first}?"
    if rest and ("/" in first or ":" in first):
        return f"; did you mean copy {' '.join(words)}?"
    return meant(first, verbs)
