"""Write what is generated: the catalogues of log events and metrics as pages, schemas, completions.

    python -m scripts.docs

A test fails where a file is not what this would write.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shtab

from pipeline.cli.arguments import build_parser
from pipeline.cli.verbs import VERBS
from pipeline.config.schema import credentials_schema, rules_schema
from pipeline.log.catalogue import EVENTS
from pipeline.log.fields import FIELDS, PREFIX
from pipeline.log.renderings import SEVERITIES, attribute
from pipeline.model.messages import STAGES
from pipeline.model.remedies import CAUSES
from pipeline.model.rule_options import NOT_BUILT, RuleOptions, TagOptions, option_fields
from pipeline.observe.metrics.catalogue import METRICS
from pipeline.observe.metrics.catalogue import PREFIX as METRIC_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.log.catalogue import EventEntry

ROOT = Path(__file__).parents[1]
_TYPES = {"text": "string", "whole number": "integer", "number": "number", "yes or no": "boolean"}
_LINE: dict[str, Any] = {
    "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
    "severity_text": {"type": "string"},
    "severity_number": {"type": "integer"},
    "event_name": {"type": "string"},
    "body": {"type": "string"},
    "service.name": {"const": "image-syncer"},
    "service.version": {"type": "string"},
    "service.instance.id": {"type": "string"},
    "process.pid": {"type": "integer"},
}
"""The fields of every line."""
_COMMANDS_HEAD = """\
# Commands

Generated from the command line's parser by `make docs`. Every command takes the flags of a run: what has no
effect there changes nothing, so `plan` or `check` can stand before the line of a timer or a job.
"""
_TROUBLE_HEAD = """\
# Troubleshooting

Generated from `pipeline/model/remedies.py` and `pipeline/log/catalogue.py` by `make docs`.

1. `image-syncer check`, with the flags of the run, tries every registry and login, and says what to do.
2. The summary, or `image-syncer status`, groups failures by cause; below each stands what to do.
3. `--log-level debug` shows every request with its status and time.

## By code

A failure ends with the registry's code, or one of ours, or the HTTP status (`error.type` in JSON):

| code | what it means | what to do |
|---|---|---|
{codes}
## By line of the log

| event | what happened |
|---|---|
{lines}
Fields and levels of all events: [log-events.md](log-events.md).
"""
_EVENTS_HEAD = """\
# Log events

Generated from `pipeline/log/catalogue.py` by `make docs`. Names of events and fields are stable.

One event is one line, in the format that `--log-format` names; without it, text on a terminal and logfmt
elsewhere. Only the supervisor writes lines; what workers saw comes with their task's outcome. Every line
carries the run, the process in which it happened, and the stage where it has one; only text on a terminal,
where one run is looked at, leaves them out.

| | text | logfmt | JSON |
|---|---|---|---|
| when | local time; in files with milliseconds and zone | `time`, likewise | `timestamp`, UTC |
| how bad | the level | `level` | `severity_text`, `severity_number` (OpenTelemetry: {severities}) |
| what | | `event` | `event_name`, behind `{prefix}` |
| in words | the message | `msg` | `body` |
| run | `run` | `run` | `service.instance.id` |
| process | `pid` | `pid` | `process.pid` |
| worker of another machine | `host`, `worker` | `host`, `worker` | `host.name`, `{prefix}worker` |
| stage (expand, resolve, transfer) | `stage` | `stage` | `{prefix}stage` |
| fields | | as below | as below |

JSON lines follow OpenTelemetry's log data model: `service.*` and `process.pid` are the resource, what stands
below are attributes. [log-events.schema.json](log-events.schema.json) says the same to programs. The
Collector reads them with its `filelog` receiver:

<!-- not run: the Collector's -->
```yaml
receivers:
  filelog:
    include: [/var/log/image-syncer.json]
    operators:
      - type: json_parser
        timestamp: {{parse_from: attributes.timestamp, layout: "%Y-%m-%dT%H:%M:%S.%LZ"}}
        severity: {{parse_from: attributes.severity_text}}
      - {{type: move, from: attributes.body, to: body}}
      - {{type: move, from: 'attributes["service.name"]', to: 'resource["service.name"]'}}
```

## Events

Fields in brackets are there where there is something to say. The `debug` ones cost time: nobody makes them
unless `--log-level debug` asks.
"""
_METRICS_HEAD = """\
# Metrics

Generated from `pipeline/observe/metrics/catalogue.py` by `make docs`.

`--metrics-listen 127.0.0.1:9090` serves them at `/metrics` while a run lasts, with `/healthz` (200 if the
loop turned in the last minute, else 503) and `/readyz` (200 once rules and credentials are read); `:9090`
listens on loopback, `0.0.0.0:9090` everywhere. `--metrics-file FILE.prom` writes them every 30 s and at the
end, for the textfile collector of Prometheus' node exporter. Labels hold registries, hosts of
workers, methods, statuses and words of ours, never an image or a digest.

A nightly run that no longer succeeds: `time() - imagesyncer_run_last_success_timestamp_seconds > 2 * 86400`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


_OPTIONS_HEAD = """\
# Options of rules

Generated from `pipeline/model/rule_options.py` by `make docs`. [rules.md](rules.md) says how they
work together.
"""
_OPTION_VALUES = {
    "text": "text",
    "texts": "text, list",
    "literals": "tag, list",
    "patterns": "pattern, list",
    "versions": "range, list",
    "count": "number",
    "switch": "`true`, `false`",
    "choice": "",
    "platforms": "platform, list",
    "referrers": "artifact type, list, `{when: ..., types: ...}`",
    "time": "time: `90s`, `15m`, `72h`, `3d`",
    "moment": "`90d`, `2026-01-01`",
    "map": "map",
}


def generated() -> dict[str, str]:
    """The content of each generated file, by its path in the project."""
    return {
        "docs/log-events.md": _events_page(),
        "docs/log-events.schema.json": json.dumps(schema(), indent=2) + "\n",
        "pipeline/config/rules.schema.json": json.dumps(rules_schema(), indent=2) + "\n",
        "pipeline/config/credentials.schema.json": json.dumps(credentials_schema(), indent=2) + "\n",
        "docs/rule-options.md": _options_page(),
        "docs/commands.md": _commands_page(),
        "docs/troubleshooting.md": _troubleshooting_page(),
        "docs/metrics.md": _METRICS_HEAD + "".join(_metric_rows()),
        "completions/image-syncer.bash": _completion("bash"),
        "completions/_image-syncer": _completion("zsh"),
        "completions/image-syncer.fish": _completion("fish"),
    }


def _events_page() -> str:
    severities = ", ".join(f"{text} {number}" for text, number in SEVERITIES.values())
    head = _EVENTS_HEAD.format(severities=severities, prefix=PREFIX)
    events = "".join(
        f"| `{name}` | {', '.join(entry.levels)} | {entry.meaning} | {_listed(entry)} |\n"
        for name, entry in EVENTS.items()
    )
    fields = "".join(
        f"| `{name}` | `{_in_json(name)}` | {field.kind} | {field.meaning} |\n"
        for name, field in sorted(FIELDS.items())
    )
    return (
        f"{head}\n| event | level | when | fields |\n|---|---|---|---|\n{events}"
        f"\n## Fields\n\n| field | in JSON | type | meaning |\n|---|---|---|---|\n{fields}"
    )


def _in_json(name: str) -> str:
    return "server.address`, `server.port" if name == "registry" else attribute(name)


def _listed(entry: EventEntry) -> str:
    always = ", ".join(sorted(entry.always))
    sometimes = ", ".join(sorted(entry.sometimes))
    return " ".join(part for part in (always, f"[{sometimes}]" if sometimes else "") if part)


def _metric_rows() -> Iterator[str]:
    for name, metric in METRICS.items():
        yield f"| `{METRIC_PREFIX}{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.meaning} |\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of one JSON line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of image-syncer's log (--log-format json)",
        "type": "object",
        "required": ["event_name"],
        "properties": {"event_name": {"enum": [PREFIX + name for name in EVENTS]}},
        "allOf": [
            {
                "if": {"properties": {"event_name": {"const": PREFIX + name}}},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in EVENTS
        ],
        "$defs": {
            **{name: _of_event(name, entry) for name, entry in EVENTS.items()},
            "line": {"properties": _LINE, "required": list(_LINE)},
            "field": {
                "server.port": {"type": "integer"},
                **{
                    attribute(name): {"type": _TYPES[field.kind], "description": field.meaning}
                    for name, field in FIELDS.items()
                },
            },
        },
    }


def _of_event(name: str, entry: EventEntry) -> dict[str, Any]:
    """The fields of one event's lines, and no others."""
    failure = {"error.type"} if "retryable" in entry.always else set()
    return {
        "description": entry.meaning,
        "$ref": "#/$defs/line",
        "required": sorted({*map(attribute, entry.always), *failure}),
        "properties": {
            "severity_text": {"enum": [SEVERITIES[level][0] for level in entry.levels]},
            "severity_number": {"enum": [SEVERITIES[level][1] for level in entry.levels]},
            "event_name": {"const": PREFIX + name},
            PREFIX + "stage": {"enum": list(STAGES)},
            "host.name": {"type": "string"},
            PREFIX + "worker": {"type": "string"},
            **_properties(entry.always | entry.sometimes),
        },
        "unevaluatedProperties": False,
    }


def _properties(fields: Iterable[str]) -> dict[str, Any]:
    names = sorted(map(attribute, fields))
    if "server.address" in names:
        names.append("server.port")
    return {name: {"$ref": f"#/$defs/field/{name}"} for name in names}


def _options_page() -> str:
    """The options of rules, by the class that has them."""
    refused = [name for name, values in NOT_BUILT.items() if not values]
    refused += [f"{name}: {word}" for name, words in NOT_BUILT.items() for word in sorted(words)]
    tables = (
        f"\n## {title}\n\n| option | value | meaning |\n|---|---|---|\n{''.join(_option_rows(owner))}"
        for title, owner in (("Of a rule", RuleOptions), ("Of `tags`", TagOptions))
    )
    later = ", ".join(f"`{each}`" for each in sorted(refused))
    last = f"## Not built yet\n\nA rule that uses one of these fails: {later}.\n"
    return f"{_OPTIONS_HEAD}{''.join(tables)}\n{last}"


def _option_rows(owner: type) -> Iterator[str]:
    for name, field in option_fields(owner).items():
        refused = NOT_BUILT.get(name, {""})
        if refused:
            words = [f"`{choice}`" for choice in field.choices if choice not in refused]
            values = [_OPTION_VALUES[field.kind]] * (field.kind != "choice") + words
            about = field.about.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
            yield f"| `{name}` | {', '.join(values)} | {about} |\n"


def _commands_page() -> str:
    """The help of each verb, as it is printed."""
    pages = "".join(f"\n## {name}\n\n{_indented(build_parser(name).format_help())}" for name in VERBS)
    whole = _indented(build_parser().format_help())
    return f"{_COMMANDS_HEAD}\n## All commands and flags\n\n{whole}{pages}"


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())


def _troubleshooting_page() -> str:
    """The meaning and remedy of each code, and the log lines about trouble."""
    codes = "".join(
        f"| `{code}` | {meaning} | {advice or 'what stands below it in the summary'} |\n"
        for code, (meaning, advice) in CAUSES.items()
    )
    lines = "".join(
        f"| `{name}` | {entry.meaning} |\n"
        for name, entry in EVENTS.items()
        if set(entry.levels) & {"warning", "error"} and "info" not in entry.levels
    )
    return _TROUBLE_HEAD.format(codes=codes, lines=lines)


def _completion(shell: str) -> str:
    """The parts of the command line that shells complete, from the parsers of all verbs."""
    parser = argparse.ArgumentParser(prog="image-syncer", parents=[_for_shell("")], add_help=False)
    verbs = parser.add_subparsers()
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=verb.meaning, parents=[_for_shell(name)], add_help=False)
    return str(shtab.complete(parser, shell=shell)).rstrip() + "\n"


def _for_shell(verb: str) -> argparse.ArgumentParser:
    """The flags that the help of a verb shows, or of all, in the words that shells can read."""
    parser = build_parser(verb)
    parser._actions[:] = [each for each in parser._actions if each.help != argparse.SUPPRESS]  # noqa: SLF001 - argparse has no public list
    for group in parser._action_groups:  # noqa: SLF001 - as above
        group._group_actions[:] = [each for each in group._group_actions if each.help != argparse.SUPPRESS]  # noqa: SLF001 - as above
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action.metavar, str):
            if action.metavar in ("FILE", "PATH"):
                action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab's way of being told
            # zsh reads a colon as the end of the word's name.
            action.metavar = action.metavar.replace(":", " ")
    return parser


def main() -> int:
    """Write all files; 0."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in generated().items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
