from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.rule_text import parse_source
from pipeline.config.rules import Defaults, make_defaults, read_rules, rule_from_words
from pipeline.errors import FileError, RuleError, SyncError, UsageError
from pipeline.model.reference import Repository
from pipeline.model.selection import AllTags, Matching, Named, Rule, Target
from tests.unit.config.words import attempt, write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.rules import RulesFile

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NO_DEFAULTS = Defaults(registry="", namespace="")
DEFAULTS = Defaults(registry="mirror.example.org:5000", namespace="a/b")
ENVIRON = {"REG": "mirror.example.org", "NS": "team", "EMPTY": ""}


def rule(source: str, *destinations: str, defaults: Defaults = NO_DEFAULTS) -> Rule:
    """The rule of a command line; a source without a tag means every tag."""
    found = attempt(lambda: parse_source(source))
    every = not isinstance(found, SyncError) and isinstance(found[1], AllTags)
    return rule_from_words(source, destinations, defaults=defaults, environ=ENVIRON, all_tags=every)


def read(path: Path, defaults: Defaults = NO_DEFAULTS) -> RulesFile:
    """The rules of a file."""
    return read_rules(path, defaults=defaults, environ=ENVIRON)


SOURCES = [
    ("quay.io/team/app", "quay.io/team/app", AllTags()),
    ("quay.io/team/app:v1", "quay.io/team/app", Named(names=("v1",))),
    ("quay.io/team/app:a , b,c", "quay.io/team/app", Named(names=("a", "b", "c"))),
    ("host:5000/app:a,b", "host:5000/app", Named(names=("a", "b"))),
    ("host:5000/app", "host:5000/app", AllTags()),
    ("[::1]:5000/app:v1", "[::1]:5000/app", Named(names=("v1",))),
    ("[::1]/app", "[::1]/app", AllTags()),
    ("localhost/app", "localhost/app", AllTags()),
    ("localhost:5000", "docker.io/library/localhost", Named(names=("5000",))),
    ("quay.io/team/app:/^v1\\.\\d{1,2}$/", "quay.io/team/app", Matching(pattern="^v1\\.\\d{1,2}$")),
    ("host:5000/app:/a@b,c:d/", "host:5000/app", Matching(pattern="a@b,c:d")),
    ("quay.io/team/app:/[[:alpha:]]\\pL\\z/", "quay.io/team/app", Matching(pattern="[[:alpha:]]\\pL\\z")),
    (f"quay.io/team/app@{A}", "quay.io/team/app", Named(names=(A,))),
    (f"quay.io/team/app:v1@{A}", "quay.io/team/app", Named(names=(f"v1@{A}",))),
    (f"quay.io/team/app:v1,{A}", "quay.io/team/app", Named(names=("v1", A))),
    (f"quay.io/team/app@{A}, {B}", "quay.io/team/app", Named(names=(A, B))),
    (f"quay.io/team/app@{A},v2", "quay.io/team/app", Named(names=(A, "v2"))),
    (f"quay.io/team/app:v1,v2@{B}", "quay.io/team/app", Named(names=("v1", f"v2@{B}"))),
    ("nginx", "docker.io/library/nginx", AllTags()),
    ("nginx:1", "docker.io/library/nginx", Named(names=("1",))),
    ("team/app", "docker.io/team/app", AllTags()),
    ("index.docker.io/nginx", "docker.io/library/nginx", AllTags()),
    ("Quay.IO/app:V1", "quay.io/app", Named(names=("V1",))),
    ("  nginx ", "docker.io/library/nginx", AllTags()),
]


@pytest.mark.parametrize(("text", "repository", "selection"), SOURCES)
def test_forms_of_a_source(text: str, repository: str, selection: object) -> None:
    """Each form of a source gives its repository and the tags or digests."""
    made = rule(text, "mirror.example.org/x")

    registry, _, path = repository.partition("/")
    assert (text, Repository(registry, path), selection) == (made.text, made.source, made.selection)


DESTINATIONS = [
    ("nginx", "mirror.example.org/x", ("mirror.example.org", "x", None)),
    ("nginx:1", "mirror.example.org/x", ("mirror.example.org", "x", None)),
    ("nginx:1", "mirror.example.org/x:one", ("mirror.example.org", "x", ("one",))),
    ("nginx:1,2", "mirror.example.org/x:one, two", ("mirror.example.org", "x", ("one", "two"))),
    (f"nginx@{A}", "mirror.example.org/x:one", ("mirror.example.org", "x", ("one",))),
    (f"nginx@{A}", "mirror.example.org/x", ("mirror.example.org", "x", None)),
    (f"nginx@{A}", f"mirror.example.org/x@{A}", ("mirror.example.org", "x", (A,))),
    (f"nginx@{A}", f"mirror.example.org/x:one@{A}", ("mirror.example.org", "x", (f"one@{A}",))),
    (f"nginx:1,{A}", f"mirror.example.org/x:one,{A}", ("mirror.example.org", "x", ("one", A))),
    ("nginx:/./", "mirror.example.org/x", ("mirror.example.org", "x", None)),
    ("nginx", "team/x", ("docker.io", "team/x", None)),
    ("nginx", "$REG/${NS}/x$EMPTY", ("mirror.example.org", "team/x", None)),
    ("nginx:1", "$REG/x:$NS", ("mirror.example.org", "x", ("team",))),
    ("quay.io/a/b/c:1", "", ("mirror.example.org:5000", "a/b/c", None)),
    ("nginx", " ", ("mirror.example.org:5000", "a/b/nginx", None)),
]


@pytest.mark.parametrize(("source", "text", "expected"), DESTINATIONS)
def test_forms_of_a_destination(source: str, text: str, expected: tuple[str, str, tuple[str, ...]]) -> None:
    """Each form of a destination gives its repository and its names, or keeps the source's."""
    registry, path, names = expected

    (target,) = rule(source, text, defaults=DEFAULTS).targets

    assert Target(repository=Repository(registry, path), names=names) == target


def test_duplicate_destinations_are_dropped() -> None:
    """A list of destinations is kept in order and without duplicates, however they are spelled."""
    made = rule("nginx", "docker.io/a/x", "quay.io/x", "$NS/x", "a/x", "registry-1.docker.io/a/x")

    expected = ["docker.io/a/x", "quay.io/x", "docker.io/team/x"]
    assert expected == [str(target.repository) for target in made.targets]


WRONG = [
    ("", ["quay.io/x"], "the source is empty"),
    (" ", ["quay.io/x"], "the source is empty"),
    ("quay.io/Team/app", ["quay.io/x"], "repository names must be lower case"),
    ("quay.io/team/app:", ["quay.io/x"], "a tag is missing"),
    ("quay.io/team/app:a,,b", ["quay.io/x"], "a tag is missing"),
    ("quay.io/team/app:-a", ["quay.io/x"], "'-a' is not a tag"),
    ("quay.io/team/app:ä", ["quay.io/x"], "'ä' is not a tag"),
    ("quay.io/team/app:v1\n", ["quay.io/x:é"], "'é' is not a tag"),
    ("quay.io/team/app,v2", ["quay.io/x"], "write quay.io/team/app:tag,..."),
    ("quay.io/team/app@v2", ["quay.io/x"], "a tag follows a colon, a digest an @"),
    ("quay.io/team/app@sha256:abc", ["quay.io/x"], "'sha256:abc' is not a digest (expected sha256: and 64"),
    (f"quay.io/team/app@{A.upper()}", ["quay.io/x"], "is not a digest"),
    (f"quay.io/team/app:@{A}", ["quay.io/x"], "'' is not a tag"),
    ("quay.io/team/app:/v1", ["quay.io/x"], "write repository:/REGEX/"),
    ("quay.io/team/app:/(/", ["quay.io/x"], "invalid regular expression"),
    ("quay.io/team/app:/a(?=b)/", ["quay.io/x"], "invalid regular expression"),
    ("https://quay.io/team/app", ["quay.io/x"], "a reference has no https://"),
    ("docker://nginx", ["quay.io/x"], "a reference has no docker://"),
    ("nginx", [], "the list of destinations is empty"),
    ("nginx", [""], "the destination is empty, and there is no default"),
    ("nginx", ["quay.io/x", "$UNSET_1/x"], "the variable UNSET_1 is not set"),
    ("nginx", ["$EMPTY"], "empty after replacing its variables"),
    ("nginx", ["HTTP://quay.io/x"], "a reference has no http://"),
    ("nginx", ["quay.io/x:/v/"], "a regular expression cannot be a destination"),
    ("nginx", ["quay.io/x:v1"], "the destination names 1 tag, but the source does not"),
    ("nginx:/./", ["quay.io/x:v1"], "the destination names 1 tag, but the source does not"),
    ("nginx:1,2", ["quay.io/x:v1"], "the source names 2 tags but the destination 1"),
    ("nginx:1", ["quay.io/x:v1,v2"], "the source names 1 tag but the destination 2"),
    ("nginx:1", ["quay.io/x,v2"], "the list starts without a tag"),
    (f"nginx@{A}", [f"quay.io/x@{B}"], f"content {A} cannot be stored as {B}"),
    (f"nginx:1,{A}", [f"quay.io/x:1,{B}"], f"content {A} cannot be stored as {B}"),
]


@pytest.mark.parametrize(("source", "destinations", "words"), WRONG)
def test_invalid_rule_is_reported_with_its_reason(source: str, destinations: list[str], words: str) -> None:
    """An invalid rule is reported with the reason and what to write instead."""
    with pytest.raises(RuleError) as caught:
        rule(source, *destinations)

    assert words in str(caught.value)


def test_missing_re2_package_fails_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without google-re2 a rule with an expression fails instead of using another library."""
    monkeypatch.setitem(sys.modules, "re2", None)

    with pytest.raises(RuleError, match="google-re2"):
        rule("nginx:/only-here-[0-9]/", "quay.io/x")


def test_invalid_rule_fails_alone(tmp_path: Path) -> None:
    """The other rules of the file are kept, numbers count all rules, and the place is that of the error."""
    path = write(
        tmp_path,
        "images.yaml",
        'nginx: quay.io/a\nNGINX: quay.io/b\nbusybox:\n  - quay.io/c\n  - "$UNSET/d"\n'
        '"": x\nredis:6: ${NS}/e\n',
    )

    rules = read(path)

    assert (str(path), ()) == (rules.path, rules.warnings)
    assert [(0, 1, "nginx"), (4, 7, "redis:6")] == [(one.number, one.line, one.text) for one in rules.rules]
    assert [
        (1, 2, 1, "NGINX", ("quay.io/b",)),
        (2, 5, 5, "busybox", ("quay.io/c", "$UNSET/d")),
        (3, 6, 1, "", ("x",)),
    ] == [(bad.number, bad.line, bad.column, bad.text, bad.destinations) for bad in rules.bad]
    assert ("the variable UNSET is not set", "set it, or write the destination out") == (
        rules.bad[1].reason,
        rules.bad[1].hint,
    )


def test_json_and_yaml_give_the_same_rules(tmp_path: Path) -> None:
    """A file with every form of source gives the same rules from JSON and from YAML."""
    entries = {text: "mirror.example.org/x" for text, _, _ in SOURCES}
    content = json.dumps(entries, indent=1)

    from_json = read(write(tmp_path, "images.json", content))
    from_yaml = read(write(tmp_path, "images.yaml", content))

    assert len(SOURCES) == len(from_json.rules)
    assert from_json.rules == from_yaml.rules


def test_number_like_tag_stays_text(tmp_path: Path) -> None:
    """A tag or a repository that looks like a number or a boolean stays text."""
    rules = read(write(tmp_path, "images.yaml", "nginx:1.10: quay.io/x:1.20\n5: [yes, quay.io/no]\n"))

    assert (Named(names=("1.10",)), ("1.20",)) == (rules.rules[0].selection, rules.rules[0].targets[0].names)
    assert "docker.io/library/5" == str(rules.rules[1].source)
    assert ["docker.io/library/yes", "quay.io/no"] == [str(one.repository) for one in rules.rules[1].targets]


def test_duplicate_source_causes_a_warning(tmp_path: Path) -> None:
    """The last of equal sources wins, with a warning that names the key and both lines."""
    rules = read(write(tmp_path, "images.yaml", "nginx: quay.io/a\nredis: quay.io/b\nnginx: quay.io/c\n"))

    assert [("redis", 0), ("nginx", 1)] == [(one.text, one.number) for one in rules.rules]
    (warning,) = rules.warnings
    assert ("config.duplicate_key", "nginx", 3, 1) == (
        warning.name,
        warning.fields["key"],
        warning.fields["line"],
        warning.fields["first_line"],
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", ":1:1: the rules must be a map, not a list (write source: destination"),
        ('"x"', ":1:1: the rules must be a map, not text"),
        ("5", ":1:1: the rules must be a map, not a number"),
        ('{"nginx":\n5}', ":2:1: the destination of 'nginx' must be text, not a number"),
        ('{"nginx": true}', ":1:11: the destination of 'nginx' must be text, not a boolean"),
        ('{"nginx": ["a", ["b"]]}', ":1:17: each destination of 'nginx' must be text, not a list"),
    ],
)
def test_wrong_type_fails_the_file(tmp_path: Path, content: str, words: str) -> None:
    """A wrong type at any level is reported with file, line, column, key and what to write instead."""
    path = write(tmp_path, "images.json", content)

    with pytest.raises(FileError) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}{words}")


def test_empty_map_is_valid(tmp_path: Path) -> None:
    """An empty map is a valid file without rules."""
    rules = read(write(tmp_path, "images.json", "{}"))

    assert ((), (), ()) == (rules.rules, rules.bad, rules.warnings)


def test_slashes_around_the_default_namespace_are_ignored() -> None:
    """Slashes around the default namespace do not matter."""
    assert NO_DEFAULTS == make_defaults("", "")
    assert Defaults(registry="docker.io", namespace="team") == make_defaults("docker.io", "team")
    assert DEFAULTS == make_defaults("mirror.example.org:5000", "/a/b/")


@pytest.mark.parametrize(
    ("registry", "namespace", "lacking"), [("quay.io", "", "namespace"), ("", "team", "registry")]
)
def test_incomplete_default_fails_rules_that_need_it(
    tmp_path: Path, registry: str, namespace: str, lacking: str
) -> None:
    """A default registry without a namespace, or the reverse, fails only rules with an empty destination."""
    path = write(tmp_path, "images.yaml", "nginx: ''\nredis: quay.io/x/redis\n")

    found = read(path, make_defaults(registry, namespace))

    assert ["redis"] == [rule.text for rule in found.rules]
    (bad,) = found.bad
    assert f"there is no default {lacking}" in bad.reason
    assert f"DEFAULT_{lacking.upper()}" in bad.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("images.yaml", "k8s.gcr.io/pause:3.7:\nnginx:1: ~\nredis:7: [quay.io/x/redis, ]\nbusybox:1: [null]"),
        ("images.json", '{"k8s.gcr.io/pause:3.7": null, "nginx:1": "", "busybox:1": [null, "quay.io/b"]}'),
    ],
)
def test_empty_destination_uses_the_default_registry(tmp_path: Path, name: str, content: str) -> None:
    """A rule with an empty or null destination goes to the default registry."""
    found = read(write(tmp_path, name, content), DEFAULTS)

    assert () == found.bad
    made = {str(rule.source): str(rule.targets[0].repository) for rule in found.rules}
    assert "mirror.example.org:5000/a/b/pause" == made["k8s.gcr.io/pause"]
    assert "mirror.example.org:5000/a/b/nginx" == made["docker.io/library/nginx"]
    assert "mirror.example.org:5000/a/b/busybox" == made["docker.io/library/busybox"]


def test_command_line_source_means_latest() -> None:
    """A bare source on the command line means `latest`, as in docker; --all-tags needs a bare source."""

    def words(source: str, *, all_tags: bool = False) -> object:
        return rule_from_words(
            source, ["quay.io/x"], defaults=NO_DEFAULTS, environ={}, all_tags=all_tags
        ).selection

    assert Named(names=("latest",)) == words("nginx") == words(" host:5000/nginx ")
    assert AllTags() == words("nginx", all_tags=True)
    for source in ("nginx:1", f"nginx@{A}", "nginx:/1/"):
        with pytest.raises(RuleError, match="--all-tags"):
            words(source, all_tags=True)


@pytest.mark.parametrize(
    ("registry", "namespace", "words"),
    [
        ("quay", "team", "'quay' is not a host"),
        ("quay.io/team", "x", "'quay.io/team' is not a host"),
        ("https://quay.io", "team", "the default registry 'https://quay.io' and namespace 'team'"),
        ("quay.io", "Team", "repository names must be lower case"),
    ],
)
def test_invalid_defaults_are_a_usage_error(registry: str, namespace: str, words: str) -> None:
    """Invalid defaults are refused before anything starts."""
    with pytest.raises(UsageError) as caught:
        make_defaults(registry, namespace)

    assert words in str(caught.value)


@given(st.text(alphabet="abN.:/@,-_$[]{} sh256é\ud800", max_size=40), st.text(max_size=20))
def test_any_text_gives_a_rule_or_rule_error(source: str, destination: str) -> None:
    """Any source and destination give a rule or a RuleError."""
    found = attempt(lambda: rule(source, destination, defaults=DEFAULTS))

    assert isinstance(found, Rule | RuleError)


@given(
    repository=st.from_regex(r"(?:[a-z]{1,5}\.io/)?[a-z]{1,6}(?:/[a-z]{1,6}){0,2}", fullmatch=True),
    names=st.lists(
        st.from_regex(r"\w[\w.-]{0,9}", fullmatch=True).filter(str.isascii), min_size=1, max_size=5
    ),
    separator=st.sampled_from([",", ", ", " ,"]),
)
def test_list_of_tags_keeps_its_order(repository: str, names: list[str], separator: str) -> None:
    """A list of tags keeps its order, for any repository and any spaces around commas."""
    made = rule(f"{repository}:{separator.join(names)}", "quay.io/x")

    assert Named(names=tuple(names)) == made.selection
