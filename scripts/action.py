"""Run image-syncer in a GitHub workflow: inputs come through the environment, the summary is the job's page.

    SYNCER_IMAGES=images.yaml SYNCER_AUTH=auth.yaml python3 scripts/action.py

action.yml calls it. It needs Python alone, and `image-syncer` on the path.
"""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LISTS = {"IMAGES": "--images", "IMAGES_FILE": "--images", "AUTH": "--auth", "AUTH_FILE": "--auth"}
"""Inputs of which each line is one value, and their flags."""
_SINGLE = ("CONFIG", "REGISTRY", "NAMESPACE", "OS", "ARCH", "PROC", "RETRIES", "RECORDS")
_VERBS = ("sync", "plan", "verify", "check")
_USAGE = 2


def arguments(environ: Mapping[str, str]) -> list[str]:
    """The command line; an input that is empty is a flag that was not given."""
    found = [environ.get("SYNCER_VERB") or "sync"]
    for name, flag in _LISTS.items():
        found += [f"{flag}={line}" for line in _lines(environ, name)]
    for name in _SINGLE:
        found += [f"--{name.lower()}={value}" for value in _lines(environ, name)[:1]]
    return [*found, *_lines(environ, "ARGUMENTS"), "--json"]


def _lines(environ: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in environ.get(f"SYNCER_{name}", "").splitlines() if line.strip()]


def page(summary: Mapping[str, Any], verb: str, code: int) -> Iterator[str]:
    """The job's page: what registries and files say is escaped, in an element in which nothing is markup."""
    yield f"### image-syncer {verb}: exit code {code}\n\n<pre>\n"
    images = summary.get("images", {})
    yield ", ".join(f"{_text(count)} {_text(name)}" for name, count in images.items()) + "\n"
    for cause in summary.get("failures", ()):
        counts = f"{cause.get('images', 0)} images, {cause.get('rules', 0)} rules"
        yield f"\nFAILED  {_text(cause.get('cause'))} ({_text(counts)})\n"
        for example in cause.get("examples", ())[:1]:
            yield f"        {_text(example.get('source'))}: {_text(example.get('message'))}\n"
        yield f"        what to do: {_text(cause.get('what_to_do'))}\n"
    yield "</pre>\n"


def _text(value: Any) -> str:
    """Printable, escaped text on one line."""
    shown = "".join(each if each.isprintable() else " " for each in str(value))
    return html.escape(shown)


def main(environ: Mapping[str, str]) -> int:
    """Run the command, write the page and the outputs; returns the command's exit code."""
    words = arguments(environ)
    verb = words[0]
    if verb not in _VERBS:
        print(f"image-syncer: error: verb must be one of {', '.join(_VERBS)}", file=sys.stderr)
        return _USAGE
    done = subprocess.run(("image-syncer", *words), stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1:]
    summary = json.loads(last[0]) if last and last[0].startswith("{") else {}
    _append(environ.get("GITHUB_STEP_SUMMARY"), "".join(page(summary, verb, done.returncode)))
    images = summary.get("images", {})
    outputs = {
        "exit-code": done.returncode,
        "copied": images.get("copied", 0),
        "failed": images.get("failed", 0),
    }
    _append(
        environ.get("GITHUB_OUTPUT"), "".join(f"{name}={int(value)}\n" for name, value in outputs.items())
    )
    return done.returncode


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main(os.environ))
