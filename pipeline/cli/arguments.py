"""The command line: verbs, flags, their help, and which flag goes with which verb.

Of the larger modules it imports only argparse, so --help answers at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline import __version__
from pipeline.cli import cluster_flags, shard_flags
from pipeline.cli import values as flag_values
from pipeline.cli.verbs import OWN, VERBS, WITH_WORDS, is_shown, listed
from pipeline.errors import UsageError
from pipeline.model.units import meant
from pipeline.settings import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FORMATS = ("text", "logfmt", "json")
_PROGRESS = ("auto", "live", "plain", "none")

_ABOUT = f"""\
image-syncer: copy container images between registries. Run it again to resume.

  image-syncer --auth auth.yaml --images images.yaml
  image-syncer copy nginx:1.27 registry.example.com/mirror/nginx

commands:
{listed()}
  image-syncer COMMAND --help shows the flags of one command.
"""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; image-syncer --help lists the flags")


class _Commas(argparse.Action):
    """A flag that may be given several times, and holds a comma-separated list each time."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002 - argparse's signature
    ) -> None:
        had = getattr(namespace, self.dest) or ()
        setattr(namespace, self.dest, (*had, *(part.strip() for part in values.split(","))))


class _Schema(argparse.Action):
    """Prints a schema for editors, and exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse's signature
        values: Any,
        option_string: str | None = None,  # noqa: ARG002 - argparse's signature
    ) -> NoReturn:
        path = Path(__file__).parents[1] / "config" / f"{values}.schema.json"
        sys.stdout.write(path.read_text(encoding="utf-8"))
        parser.exit()


def build_parser(verb: str = "") -> argparse.ArgumentParser:
    """The parser of the whole command line; its help is that of a verb, or of all of them."""
    about = VERBS[verb or "sync"]
    name = f"image-syncer {verb}" if verb else "image-syncer [COMMAND]"
    parser = _Parser(
        prog="image-syncer",
        description=f"{name}: {about.meaning}" if verb else _ABOUT,
        epilog=about.codes,
        usage=" ".join(filter(None, (name, about.words, "[FLAGS]"))),
        formatter_class=_Narrow,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND", help=argparse.SUPPRESS)
    _add_what(parser.add_argument_group("What to copy"))
    _add_how(parser.add_argument_group("How"))
    output = parser.add_argument_group("Output")
    _add_output(output)
    _add_files(output)
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list
        if verb and not is_shown(action, verb):
            action.help = argparse.SUPPRESS
    return parser


class _Narrow(argparse.RawDescriptionHelpFormatter):
    """Help in 80 columns, whatever the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=80)


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--images",
        type=flag_values.path,
        action="append",
        metavar="FILE",
        help="rules, lists (.txt), folders, -; repeatable [./images.json]",
    )
    add("--to", type=flag_values.text, metavar="TEMPLATE", help="destination of plain lists: reg/mirror/")
    add(
        "--auth",
        type=flag_values.path,
        action="append",
        metavar="FILE",
        help="credentials, settings of registries; repeatable [./auth.json, docker login]",
    )
    add("--config", type=flag_values.path, metavar="FILE", help="both in one file [./config.json]")
    add("--os", action=_Commas, default=(), metavar="LIST", help="only these: linux")
    add("--arch", action=_Commas, default=(), metavar="LIST", help="only these: amd64,arm64:v8")
    add("--referrers", action=_Commas, metavar="WHAT", help="no, copied, always, or artifact types [copied]")
    add("--registry", metavar="REG", help='for rules to "" [$DEFAULT_REGISTRY]')
    add("--namespace", metavar="NS", help='for rules to "" [$DEFAULT_NAMESPACE]')
    add("--force", action="store_true", help="copy again even if present")
    add("--trust-existing", action="store_true", help="min_age: what the destination has is old enough")
    add("--all-tags", action="store_true", help="copy REPOSITORY: every tag [latest]")
    add("--insecure", action="store_true", help="copy: plain HTTP, any certificate")
    login = "copy: USER:- (password on standard input), USER:$NAME"
    add("--src-creds", type=flag_values.login, metavar="LOGIN", help=login)
    add("--dest-creds", type=flag_values.login, metavar="LOGIN", help="likewise, for the destinations")
    add("--dry-run", action="store_true", help="same as the verb plan")
    add("--explain", metavar="IMAGE", help="plan: why rules take a tag, or do not")
    add("--deep", action="store_true", help="verify: read and hash all content")
    add("--tags", action="store_true", help="list: the tags too")


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-p", "--proc", type=flag_values.whole(1), metavar="N", help="maximum images and blobs at a time")
    add(
        "-r",
        "--retries",
        type=flag_values.whole(0),
        default=2,
        metavar="N",
        help="retry rounds for failed images [2]",
    )
    add(
        "--records",
        type=flag_values.path,
        default=Path("records"),
        metavar="PATH",
        help="folder of records for the next run [./records]",
    )
    shard_flags.add_to(group)
    cluster_flags.add_to(group)
    add(
        "--bandwidth",
        type=flag_values.bandwidth,
        metavar="RATE",
        help="maximum for all blobs, in each direction: 20MB/s",
    )
    add(
        "--patience",
        type=flag_values.seconds,
        default=3600.0,
        metavar="TIME",
        help="give up a registry that accepts nothing [1h]",
    )
    add(
        "--drain",
        type=flag_values.seconds,
        default=25.0,
        metavar="TIME",
        help="let current transfers finish when stopped [25s]",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--progress",
        choices=_PROGRESS,
        metavar="HOW",
        help=f"{', '.join(_PROGRESS)} [$IMAGE_SYNCER_PROGRESS, auto: live on a terminal]",
    )
    add("-q", "--quiet", action="store_true", help="only warnings, errors and failures")
    add("--json", action="store_true", help="print the summary as one object")
    add("--report", type=flag_values.path, metavar="FILE", help="write a report (.html)")
    add("--log", type=flag_values.path, metavar="FILE", help="log file [standard error]")
    levels = ("debug", "info", "warning", "error")
    add("--log-level", choices=levels, metavar="LEVEL", help=f"{', '.join(levels)} [info]")
    add("--log-format", choices=_FORMATS, metavar="FORM", help=f"{', '.join(_FORMATS)}")
    add(
        "--progress-interval",
        type=flag_values.seconds,
        default=30.0,
        metavar="TIME",
        help="between progress lines; 0: none [30s]",
    )
    add(
        "--metrics-listen",
        type=flag_values.address,
        metavar="HOST:PORT",
        help="/metrics, /healthz and /readyz",
    )
    add(
        "--metrics-file",
        type=flag_values.path,
        metavar="FILE",
        help="metrics for a textfile collector (.prom)",
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--output-success-images",
        dest="success_file",
        type=flag_values.path,
        metavar="FILE",
        help="list of images at their destination, as rules",
    )
    add(
        "--output-images-format",
        dest="success_format",
        choices=("yaml", "json"),
        help="format of that file [by its ending, or yaml]",
    )
    add(
        "--output-failed-images",
        dest="failed_file",
        type=flag_values.path,
        metavar="FILE",
        help="list of missing images, as rules (.yaml, .json)",
    )
    add("-h", "--help", action="store_true", help="show this help")
    add(
        "--schema",
        action=_Schema,
        dest=argparse.SUPPRESS,
        choices=("rules", "credentials"),
        metavar="KIND",
        help="print the JSON Schema of rules or credentials, for editors",
    )
    add("-v", "--version", action="version", version=f"image-syncer {__version__}", help="show the version")


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Parse the command line.

    Raises:
        UsageError: it is wrong; the message says how.
        SystemExit: --help or --version was printed.
    """
    parser = build_parser()
    tidied = flag_values.tidied(arguments)
    found, unknown = parser.parse_known_intermixed_args(tidied)
    if vars(found).pop("help") or found.words[:1] == ["help"]:
        _help(found.words)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 - argparse has no public list
        name = unknown[0].partition("=")[0]  # its value may be a password
        suggested = meant(name, known) or "; image-syncer --help lists the flags"
        raise UsageError(f"unknown flag {name}{suggested}")
    verb, words = _verb(found.words)
    verb = "plan" if found.dry_run and verb in ("sync", "copy") else verb
    given = {flag: _action(parser, flag) for flag in tidied if flag.startswith("-") and flag != "-"}
    unused = tuple(_unused(verb, {flag: action for flag, action in given.items() if action is not None}))
    for action in unused:
        setattr(found, action.dest, action.default)
    sharded = shard_flags.chosen(found, environ)
    if sharded:
        arguments = shard_flags.with_index(arguments, environ)
    ignored = tuple(action.option_strings[-1] for action in unused)
    cluster = cluster_flags.chosen(found)
    values = vars(found) | {"verb": verb, "words": words, "ignored": ignored, "cluster": cluster, **sharded}
    if not words:
        _reject_without_words(found)
    values["images"], values["auth"] = tuple(found.images or ()), tuple(found.auth or ())
    values["arguments"] = flag_values.without_secrets(arguments)
    values["progress"] = found.progress or _progress(environ.get("IMAGE_SYNCER_PROGRESS", ""))
    values["success_format"] = found.success_format or flag_values.format_by_name(found.success_file)
    values["registry"] = _given(found.registry, environ.get("DEFAULT_REGISTRY"))
    values["namespace"] = _given(found.namespace, environ.get("DEFAULT_NAMESPACE"))
    return Options(**values)


def _given(flag: str | None, variable: str | None) -> str:
    return flag if flag is not None else variable or ""


def _progress(variable: str) -> str:
    if variable not in ("", *_PROGRESS):
        raise UsageError(f"IMAGE_SYNCER_PROGRESS={variable}: invalid; use one of {', '.join(_PROGRESS)}")
    return variable or "auto"


def _reject_without_words(found: argparse.Namespace) -> None:
    """Reject flags of a rule given as words if the rules come from a file.

    Raises:
        UsageError: there is one.
    """
    for name in ("all_tags", "insecure", "src_creds", "dest_creds"):
        if getattr(found, name):
            where = (
                "a rules file copies every tag anyway" if name == "all_tags" else "write it into --auth FILE"
            )
            raise UsageError(f"--{name.replace('_', '-')} goes with copy SOURCE DESTINATION; {where}")


def _verb(words: list[str]) -> tuple[str, tuple[str, ...]]:
    """The verb and its words.

    Raises:
        UsageError: a word is unknown, superfluous or missing.
    """
    if not words:
        return "sync", ()
    verb, *rest = words
    if verb not in VERBS:
        suggested = flag_values.meant_verb(words, VERBS) or "; image-syncer --help lists the commands"
        raise UsageError(f"unknown command {verb!r}{suggested}")
    if verb in WITH_WORDS and len(rest) < 2 and (rest or verb == "copy"):  # noqa: PLR2004 - a source and a destination
        raise UsageError(
            f"{verb} needs a source and at least one destination: image-syncer {verb} nginx:1 reg/nginx"
            + flag_values.meant_verb(rest, ())
        )
    if verb == "list":
        if len(rest) != 1:
            raise UsageError("list needs one namespace or pattern: image-syncer list quay.io/coreos")
        return verb, tuple(rest)
    if verb not in WITH_WORDS and rest:
        suggested = flag_values.meant_verb(rest, VERBS) or f"; image-syncer {verb} --help shows its flags"
        raise UsageError(f"unexpected word {rest[0]!r}{suggested}")
    return verb, tuple(rest)


def _action(parser: argparse.ArgumentParser, argument: str) -> argparse.Action | None:
    """The flag of an argument such as `--log=FILE`, `--log`, `-p4`; None: it is a value."""
    name = argument.partition("=")[0] if argument.startswith("--") else argument[:2]
    return parser._option_string_actions.get(name)  # noqa: SLF001 - argparse has no public table


def _unused(verb: str, given: Mapping[str, argparse.Action]) -> Iterator[argparse.Action]:
    """The given flags of a run that have no effect for the verb.

    Raises:
        UsageError: a flag is for another verb only.
    """
    for action in given.values():
        for name in action.option_strings:
            if OWN.get(name, verb) != verb:
                raise UsageError(f"{name} is a flag of {OWN[name]}: image-syncer {OWN[name]} --help")
        if not VERBS[verb].uses(action.option_strings):
            yield action


def _help(words: Sequence[str]) -> NoReturn:
    """Print the help of the verb that was named, or of all verbs, and exit."""
    verb = next((word for word in words if word in VERBS), "")
    if words[:1] == ["help"] and not verb:
        _verb(list(words[1:]))
    sys.stdout.write(build_parser(verb).format_help())
    raise SystemExit(0)
