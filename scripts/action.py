"""Run image-syncer in a GitHub workflow: inputs come through the environment, the summary is the job's page.

    SYNCER_IMAGES=images.yaml SYNCER_AUTH=auth.yaml python3 scripts/action.py

action.yml calls it. It needs Python alone, and `image-syncer` on the path.
"""

from __future__ import annotations

import html
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LISTS = {"IMAGES": "--images", "IMAGES_FILE": "--images", "AUTH": "--auth", "AUTH_FILE": "--auth"}
"""Inputs with one value per line, and their flags."""
_SINGLE = {name: f"--{name.lower()}" for name in ("CONFIG", "OS", "ARCH", "PROC", "RETRIES", "RECORDS")}
_SINGLE |= {
    f"{prefix}{name}": f"--{name.lower()}"
    for name in ("REGISTRY", "NAMESPACE")
    for prefix in ("DEFAULT_", "")
}
"""Inputs of one value, and their flags; image-sync-action says `default_registry`, and `registry` wins."""
_VERBS = ("sync", "plan", "verify", "check")
_USAGE = 2
_MOST_CAUSES, _LONGEST = 50, 500
"""Of the page: GitHub refuses one of more than 1 MiB."""


def arguments(environ: Mapping[str, str]) -> list[str]:
    """The command line; an empty input is a flag that was not given."""
    found = [environ.get("SYNCER_VERB") or "sync"]
    for name, flag in _LISTS.items():
        found += [f"{flag}={line}" for line in _lines(environ, name)]
    for name, flag in _SINGLE.items():
        found += [f"{flag}={value}" for value in _lines(environ, name)[:1]]
    return [*found, *_lines(environ, "ARGUMENTS"), "--json"]


def _lines(environ: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in environ.get(f"SYNCER_{name}", "").splitlines() if line.strip()]


def page(summary: Mapping[str, Any], verb: str, code: int) -> Iterator[str]:
    """The job's page: what registries and files say is escaped, in an element in which nothing is markup."""
    yield f"### image-syncer {verb}: exit code {code}\n\n<pre>\n"
    images = summary.get("images", {})
    rules = {"rules failed as a whole": summary.get("rules", {}).get("failed", 0)}
    yield ", ".join(f"{_text(count)} {name}" for name, count in {**images, **rules}.items() if count) + "\n"
    causes = summary.get("failures", ())
    for cause in causes[:_MOST_CAUSES]:
        counts = ", ".join(_counted(cause.get(f"{word}s", 0), word) for word in ("image", "rule"))
        yield f"\nFAILED  {_text(cause.get('cause'))} ({counts.strip(', ')})\n"
        for example in cause.get("examples", ())[:1]:
            yield f"        {_text(example.get('source'))}: {_text(example.get('message'))}\n"
        yield f"        what to do: {_text(cause.get('what_to_do'))}\n"
    if causes[_MOST_CAUSES:]:
        yield f"\n{len(causes) - _MOST_CAUSES} more causes: see the log\n"
    yield "</pre>\n"


def _counted(count: Any, word: str) -> str:
    """`2 images`; nothing for none."""
    return f"{_text(count)} {word}{'s' * (count != 1)}" if count else ""


def _text(value: Any) -> str:
    """Printable, escaped text on one line, cut where it is too long."""
    shown = "".join(each if each.isprintable() else " " for each in str(value)[:_LONGEST])
    return html.escape(shown)


def main(environ: Mapping[str, str]) -> int:
    """Run the command, write the page and the outputs; returns the command's exit code."""
    words = arguments(environ)
    verb = words[0]
    if verb not in _VERBS:
        print(f"image-syncer: error: verb must be one of {', '.join(_VERBS)}", file=sys.stderr)
        return _USAGE
    code, summary = _run(words)
    _append(environ.get("GITHUB_STEP_SUMMARY"), "".join(page(summary, verb, code)))
    images = summary.get("images", {})
    outputs = {
        "exit-code": code,
        "copied": images.get("copied", 0),
        "failed": images.get("failed", 0) + summary.get("rules", {}).get("failed", 0),
    }
    _append(
        environ.get("GITHUB_OUTPUT"), "".join(f"{name}={int(value)}\n" for name, value in outputs.items())
    )
    return code


def _run(words: list[str]) -> tuple[int, Mapping[str, Any]]:
    """Run the command; returns its exit code and summary.

    Registries choose words of its log, and a runner obeys `::command::` at the start of a line, `##[command]`
    anywhere in one (actions/runner#4692). So commands are off while it runs, until a token nobody else knows.
    A runner that cancels a job sends SIGINT to this process, 7.5 s later SIGTERM: the command gets both.
    """
    token = secrets.token_hex(16)
    _say(f"::add-mask::{token}", f"::stop-commands::{token}")
    try:
        with subprocess.Popen(("image-syncer", *words), stdout=subprocess.PIPE, text=True) as process:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: process.terminate())
            output, _ = process.communicate()
    finally:
        _say(f"::{token}::")
    code = process.returncode
    return 128 - code if code < 0 else code, _summary(output)


def _say(*lines: str) -> None:
    """Write to the stream that the command writes to, so that the order is kept."""
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def _summary(output: str) -> Mapping[str, Any]:
    """The object in the last line; a command that was killed, or refused its flags, has none."""
    last = output.strip().rpartition("\n")[2]
    try:
        found = json.loads(last)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main(os.environ))
