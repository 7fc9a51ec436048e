from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.config.rules import Defaults, read_rules
from pipeline.errors import FileError
from pipeline.model.platform import Filter, parse_platforms
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions, TagOptions
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.rules import BadRule, RulesFile
    from pipeline.model.selection import Rule

ENVIRON = {"REG": "mirror.corp", "BRACE": "{name}", "NS": "team"}


def read(folder: Path, text: str, name: str = "images.yaml") -> RulesFile:
    """The rules of a file."""
    return read_rules(
        write(folder, name, text), defaults=Defaults(registry="r.io", namespace="n"), environ=ENVIRON
    )


def only(folder: Path, text: str) -> Rule:
    """The only rule of a file."""
    rules = read(folder, text)
    assert () == rules.bad
    (rule,) = rules.rules
    return rule


def wrong(folder: Path, text: str) -> BadRule:
    """The only, invalid rule of a file."""
    (bad,) = read(folder, text).bad
    return bad


def targets(rule: Rule) -> list[str]:
    """The destinations of a rule, as text."""
    return [f"{each.repository}" + (f":{each.tag}" if each.tag else "") for each in rule.targets]


class TestForms:
    def test_map_gives_destinations_and_options(self, tmp_path: Path) -> None:
        """A map gives destinations and options; `tags` as text or a list is what to include."""
        rule = only(
            tmp_path,
            "quay.io/a/b:\n  to: [r.io/x, r.io/y]\n  tags: [1.10, v*]\n  platforms: linux/arm64/v8\n"
            "  retries: 5\n  force: yes\n",
        )

        assert ["r.io/x", "r.io/y"] == targets(rule)
        assert (
            RuleOptions(
                to=("r.io/x", "r.io/y"),
                tags=TagOptions(include=("1.10", "v*")),
                platforms=parse_platforms(["linux/arm64/v8"]),
                retries=5,
                force=True,
            )
            == rule.options
        )

    def test_json_means_the_same(self, tmp_path: Path) -> None:
        """A JSON file means the same; a number in a list of tags keeps its spelling."""
        text = '{"quay.io/a/b": {"to": "r.io/x", "tags": {"include": [1.10, "v*"], "newest": 3}}}'

        (rule,) = read(tmp_path, text, "images.json").rules

        assert TagOptions(include=("1.10", "v*"), newest=3) == rule.options.tags

    def test_list_of_maps_gives_several_rules(self, tmp_path: Path) -> None:
        """A list of maps gives several rules with one source, each with its own line."""
        rules = read(
            tmp_path,
            "quay.io/a/b:\n- {to: r.io/x, tags: {newest: 1}}\n- {to: r.io/y, force: true}\nnginx: r.io/z\n",
        )

        assert [(0, 2, ["r.io/x"]), (1, 3, ["r.io/y"]), (2, 4, ["r.io/z"])] == [
            (rule.number, rule.line, targets(rule)) for rule in rules.rules
        ]

    def test_list_of_destinations_and_maps_fails(self, tmp_path: Path) -> None:
        """A list that mixes destinations and maps fails its rule at the first map."""
        bad = wrong(tmp_path, "quay.io/a/b:\n- r.io/x\n- {to: r.io/y}\n")

        assert (3, 3, "a list is all of one kind") == (bad.line, bad.column, bad.reason)

    def test_defaults_apply_to_rules_without_options(self, tmp_path: Path) -> None:
        """The file's options apply to every rule, even one without options; the rule's own win."""
        rules = read(
            tmp_path,
            "nginx: r.io/x\n.defaults: {platforms: linux/amd64, tags: {exclude: '*-debug', newest: 2}}\n"
            "redis: {to: r.io/y, platforms: all, tags: {newest: 5}}\n",
        )

        assert [
            (0, 1, parse_platforms(["linux/amd64"]), TagOptions(exclude=("*-debug",), newest=2)),
            (1, 3, Filter(), TagOptions(exclude=("*-debug",), newest=5)),
        ] == [(rule.number, rule.line, rule.options.platforms, rule.options.tags) for rule in rules.rules]

    def test_no_options_without_defaults(self, tmp_path: Path) -> None:
        """A rule without options in a file without options has none."""
        assert NO_OPTIONS == only(tmp_path, "nginx: r.io/x\n").options

    def test_destination_from_defaults(self, tmp_path: Path) -> None:
        """Rules without a destination use the one in .defaults."""
        rules = read(
            tmp_path,
            ".defaults: {to: mirror.corp/all/}\nnginx:\nredis: ''\nbusybox: {force: true}\nhttpd: r.io/h\n",
        )

        assert [
            ["mirror.corp/all/nginx"],
            ["mirror.corp/all/redis"],
            ["mirror.corp/all/busybox"],
            ["r.io/h"],
        ] == [targets(rule) for rule in rules.rules]

    def test_defaults_do_not_change_named_tags(self, tmp_path: Path) -> None:
        """Tags and digests that a source names are always selected; an expression keeps its own include."""
        rules = read(
            tmp_path,
            ".defaults: {tags: {include: 'v*', exclude: '*-rc', newest: 1}}\n"
            "nginx:1,2: r.io/x\nredis:/^7/: r.io/y\n",
        )

        assert [None, TagOptions(exclude=("*-rc",), newest=1)] == [rule.options.tags for rule in rules.rules]

    def test_anchors_are_merged_into_options(self, tmp_path: Path) -> None:
        """.anchors holds YAML anchors, which rules merge into their options."""
        rule = only(
            tmp_path,
            ".anchors:\n  - &small {platforms: linux/amd64, retries: 1}\n  - anything: {goes: [here]}\n"
            "nginx: {<<: *small, to: r.io/x, retries: 2}\n",
        )

        assert (parse_platforms(["linux/amd64"]), 2) == (rule.options.platforms, rule.options.retries)

    def test_merge_among_sources_is_refused(self, tmp_path: Path) -> None:
        """A map of options cannot be merged among the sources, since its keys would be read as sources."""
        text = "nginx: &a {to: r.io/x, retries: 1}\n<<: *a\n"

        with pytest.raises(FileError, match=r"images.yaml:2:1: the merge key << is among the sources"):
            read(tmp_path, text)

    def test_last_of_two_equal_sources_wins(self, tmp_path: Path) -> None:
        """The last of two equal sources wins, and the warning says how to write two rules."""
        (warning,) = read(tmp_path, "nginx: r.io/x\nnginx: {to: r.io/y}\n").warnings

        assert "the last one counts; for two rules write one list of maps" in warning.message


WRONG = [
    ("{too: r.io/x}", "too", "unknown option 'too'; did you mean to?"),
    ("{to: r.io/x, tags: {newst: 3}}", "newst", "unknown option 'tags.newst'; did you mean newest?"),
    ("{to: r.io/x, newest: 3}", "newest", "unknown option 'newest'; it belongs below tags"),
    ("{to: r.io/x, tags: {newest: 0}}", "0", "tags.newest must be a number of at least 1, not 0"),
    ("{to: r.io/x, tags: {newest: '3'}}", "'3'", "tags.newest must be a number"),
    ("{to: r.io/x, tags: {newest: [3]}}", "[3", "tags.newest must be a number of at least 1, not a list"),
    ("{to: r.io/x, tags: {per: week}}", "week", "tags.per cannot be 'week'"),
    ("{to: r.io/x, force: maybe}", "maybe", "force must be true or false"),
    ("{to: r.io/x, force: }", "}", "force is empty"),
    ("{to: {a: b}}", "{a", "to must be text, not a map"),
    ("{to: []}", "[", "the list to is empty"),
    ("{tags: v1}", "v1", "the option 'to' is missing"),
    ("{to: r.io/x, tags: {include: []}}", "[", "the list tags.include is empty"),
    ("{to: r.io/x, tags: a/b*}", "a/b*", "no tag matches 'a/b*': tags hold no /"),
    ("{to: r.io/x, tags: '-*'}", "'-*'", "no tag matches '-*': tags begin with no -"),
    ("{to: r.io/x, tags: 'v[1'}", "'v[1'", "is not closed"),
    ("{to: r.io/x, tags: [v1, 'r.io/x:v1']}", "'r.io/x", "no tag can be 'r.io/x:v1'"),
    ("{to: r.io/x, tags: {exclude: ['/(/']}}", "'/(/'", "invalid regular expression /(/: missing )"),
    ("{to: r.io/x, tags: {include: /v1}}", "/v1", "is not closed"),
    ("{to: r.io/x, tags: {versions: latest}}", "latest", "'latest' is not a range of versions"),
    (
        "{to: r.io/x, tags: {versions: ['>=1', '>=1.0-rc1']}}",
        "'>=1.0-rc1'",
        "'>=1.0-rc1' is not a range of versions",
    ),
    ("{to: r.io/x, tags: {always: 'v*'}}", "'v*'", "'v*' is not a tag"),
    ("{to: r.io/x, tags: {exclude: [a, b], always: b}}", "{exclude", "tags.always both name b"),
    ("{to: r.io/x, platforms: amd64}", "amd64", "'amd64' is not a platform"),
    ("{to: r.io/x, platforms: [linux/amd64, all]}", "all", "'all' is not a platform"),
    ("{to: r.io/x, platforms: []}", "[", "the list platforms is empty"),
    ("{to: r.io/x, repositories: x}", "x}", "repositories must be a map, not text"),
    ("{to: r.io/x, delete: {extra: true}}", "delete", "this version cannot do delete"),
    ("{to: r.io/x, every: 5m}", "every", "this version cannot do every"),
    ("{to: r.io/x, referrers: allways}", "allways", "did you mean always?"),
    ("{to: r.io/x, tags: {since: 90}}", "90", "tags.since: 90 is neither a date nor an age"),
    (
        "{to: r.io/x, tags: {since: 2026-02-30}}",
        "2026",
        "tags.since: 2026-02-30 is neither a date nor an age",
    ),
    ("{to: r.io/x, tags: {newest: 1, by: pused}}", "pused", "did you mean pushed?"),
    ("{TO: r.io/x}", "TO", "unknown option 'TO'; did you mean to?"),
    ("{destination: r.io/x}", "destination", "unknown option 'destination'; did you mean to?"),
    ("{to: r.io/x, tags: {allow: v*}}", "allow", "unknown option 'tags.allow'; did you mean include?"),
    (
        "{to: r.io/x, tags: {min_age: 3d}}",
        "min_age",
        "unknown option 'tags.min_age'; it belongs next to tags",
    ),
    ("{to: r.io/x, tags: [{include: a}]}", "[{", "tags is a list of maps"),
    ("{to: r.io/x, platforms: [linux/arm64v8]}", "linux", "arm64v8 is not known; did you mean arm64?"),
    ("{to: r.io/x, platforms: [linx/amd64]}", "linx", "linx is not known; did you mean linux?"),
    ("{to: r.io/x, min_age: 72}", "72", "min_age: 72 is not a time"),
    ("{to: 'r.io/{nmae}'}", "'r.io/{nmae", "{nmae} is not a placeholder; did you mean name?"),
    ("{to: 'ocidir:///srv/x'}", "'ocidir", "this version cannot read or write ocidir:// folders"),
]


@pytest.mark.parametrize(("value", "at", "words"), WRONG)
def test_invalid_option_fails_only_its_rule(tmp_path: Path, value: str, at: str, words: str) -> None:
    """A wrong option is reported in one line at its place, and fails only its rule."""
    line = f"nginx: {value}"

    rules = read(tmp_path, f"{line}\nredis: r.io/y\n")

    (bad,) = rules.bad
    assert words in bad.reason
    assert bad.line == 1
    assert line[bad.column - 1 :].startswith(at)
    assert ["redis"] == [rule.text for rule in rules.rules]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nginx: {to: r.io/x, platforms: 'linux/amd64, linux/arm64'}", "[linux/amd64, linux/arm64]"),
        ("nginx: {to: r.io/x, tags: '1.*, 2.*'}", "write a list: tags: [1.*, 2.*]"),
        ("nginx: {to: r.io/x, tags: '[0-9]+'}", "a regular expression between slashes: /[0-9]+/"),
        (r"nginx: {to: r.io/x, tags: 'v\d'}", r"a regular expression between slashes: /v\d/"),
        ("nginx: {to: r.io/x, tags: {versions: '>=1.2.0-0'}}", "a range holds numbers only"),
        ("nginx: {to: r.io/x, keep: true}", 'such as "*" for all'),
        ("nginx:1.*: r.io/x", "patterns go below tags: {to: ..., tags: '1.*'}"),
        ("nginx: {to: r.io/x, tags: {any: a}}", "include, newest, per, prereleases, since, versions"),
        ("defaults: {platforms: linux/amd64}", "write .defaults, with a leading dot"),
        ("images: {nginx: r.io/x}", "give a file that has auth and images with --config"),
        ("tags: 1.*", "tags are among the sources: indent them below theirs"),
    ],
)
def test_common_mistake_gets_advice(tmp_path: Path, text: str, hint: str) -> None:
    """A common mistake is reported with what to write instead."""
    assert hint in wrong(tmp_path, f"{text}\n").hint


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{platfroms: linux/amd64}", ":2:13: unknown option 'platfroms'; did you mean platforms?"),
        ("[linux/amd64]", ":2:12: .defaults must be a map, not a list"),
        ("{tags: {newest: 0}}", ":2:28: tags.newest must be a number"),
        ("{tags: {exclude: a, always: a}}", ":2:19: tags.exclude and tags.always both name a"),
        ("{repositories: x}", ":2:27: repositories must be a map"),
    ],
)
def test_invalid_defaults_fail_the_file(tmp_path: Path, value: str, words: str) -> None:
    """A mistake in .defaults fails the whole file, since it affects every rule."""
    with pytest.raises(FileError) as caught:
        read(tmp_path, f"nginx: r.io/x\n.defaults: {value}\n")

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "value", "words"),
    [
        ("nginx:1", "{to: r.io/x, tags: v*}", "the tags are named twice"),
        ("nginx:/1/", "{to: r.io/x, tags: v*}", "the tags are named twice"),
        ("ocidir:///srv/x", "r.io/x/", "this version cannot read or write ocidir://"),
        ("nginx:1.*", "r.io/x", "'1.*' is not a tag"),
    ],
)
def test_unsupported_source_is_refused(tmp_path: Path, source: str, value: str, words: str) -> None:
    """A source that names its tags takes no include, and a folder is not supported."""
    assert words in wrong(tmp_path, f"{source!r}: {value}\n").reason


TEMPLATES = [
    ("quay.io/a/b/c", "r.io/{registry}/{path}", "r.io/quay.io/a/b/c"),
    ("h:5000/a/c", "r.io/{registry}/{path}", "r.io/h-5000/a/c"),
    ("h:5000/a/c", "{registry}/copy/{name}", "h:5000/copy/c"),
    ("quay.io/a/b/c", "r.io/{namespace}-x/{name}", "r.io/a/b-x/c"),
    ("quay.io/a/b/c", "r.io/mirrored-{flat}", "r.io/mirrored-a-b-c"),
    ("quay.io/a/b/c", "acme/{rest}", "docker.io/acme/c"),
    ("nginx", "r.io/m/", "r.io/m/nginx"),
    ("nginx", "r.io/", "r.io/nginx"),
    ("nginx", "$REG/${NS}/{name}", "mirror.corp/team/nginx"),
    ("nginx", "r.io/{name}:x-{tag}", "r.io/nginx:x-{tag}"),
    ("quay.io/a/c", "r.io/all:{name}-{tag}", "r.io/all:c-{tag}"),
]


@pytest.mark.parametrize(("source", "text", "expected"), TEMPLATES)
def test_placeholders_are_parts_of_the_source(tmp_path: Path, source: str, text: str, expected: str) -> None:
    """Placeholders in a destination are parts of the source; a trailing slash appends the name."""
    assert [expected] == targets(only(tmp_path, f"{source}: '{text}'\n"))


@pytest.mark.parametrize(
    ("source", "text", "words"),
    [
        ("quay.io/a.b/c", "{path}", "{path} cannot name the registry"),
        ("quay.io/a.b/c", "{namespace}/{name}", "{namespace} cannot name the registry"),
        ("quay.io/a/c", "{registry}.evil/x", "{registry} cannot name the registry"),
        ("quay.io/a/c", "r{name}.io/x", "{name} cannot name the registry"),
        ("quay.io/a/c", "$REG{name}/x", "{name} cannot name the registry"),
        ("quay.io/c", "r.io/{namespace}/x", "{namespace} is empty: quay.io/c has no namespace"),
        ("quay.io/a/c", "r.io/{tag}/x", "{tag} is before the tag"),
        ("quay.io/a/c", "r.io/x/{tag}", "{tag} is before the tag"),
        ("quay.io/a/c", "r.io/{}", "{} is not a placeholder"),
        ("quay.io/a/c", "r.io/{name", "{ is not a placeholder"),
        ("quay.io/a/c", "r.io/$BRACE/{name}", "a variable puts a brace"),
        ("quay.io/a/c", "r.io/$BRACE", "is not a repository name"),
        ("quay.io/a/c:" + "v" * 128, "r.io/x:{tag}x", "is not a tag"),
        ("quay.io/a/c", "r.io/" + "y" * 250 + "/{name}", "the limit is 255"),
        ("quay.io/a/c@sha256:" + "0" * 64, "r.io/x:{tag}", "the source names a digest"),
    ],
)
def test_dangerous_template_is_refused(tmp_path: Path, source: str, text: str, words: str) -> None:
    """A template that could write to an unexpected place is refused before any request."""
    assert words in wrong(tmp_path, f"{source}: '{text}'\n").reason
