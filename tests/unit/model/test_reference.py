"""References: the grammar, the aliases of Docker Hub, and the canonical text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import RuleError
from pipeline.model.reference import (
    Reference,
    Repository,
    canonical_registry,
    is_digest,
    is_tag,
    parse_reference,
    parse_repository,
)

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"

component = st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True)
path = st.lists(component, min_size=1, max_size=4).map("/".join).filter(lambda text: len(text) <= 240)
port = st.integers(1, 65535).map(lambda number: f":{number}")
host = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?){1,3}", fullmatch=True
)
registry = st.one_of(
    st.builds(str.__add__, host, st.one_of(st.just(""), port)),
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "[::1]:5000", "[fe80::1]"]),
).map(canonical_registry)
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
name = st.one_of(tag, st.sampled_from([SHA256, SHA512]))


@st.composite
def references(draw: st.DrawFn) -> Reference:
    """Any canonical reference."""
    where, rest = draw(registry), draw(path)
    if where == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    return Reference(Repository(where, rest), draw(name))


class TestParseRepository:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ubuntu", "docker.io/library/ubuntu"),
            ("foo/bar", "docker.io/foo/bar"),
            ("a/b/c", "docker.io/a/b/c"),
            ("localhost", "docker.io/library/localhost"),
            ("example.com", "docker.io/library/example.com"),
            ("localhost/foo", "localhost/foo"),
            ("localhost:5000/foo", "localhost:5000/foo"),
            ("[::1]:5000/foo", "[::1]:5000/foo"),
            ("[2001:DB8::1]/foo/bar", "[2001:db8::1]/foo/bar"),
            ("Quay.IO/a/b", "quay.io/a/b"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("registry-1.docker.io/library/nginx", "docker.io/library/nginx"),
            ("registry.hub.docker.com/team/app", "docker.io/team/app"),
            ("harbor.corp/project/group/image", "harbor.corp/project/group/image"),
            ("reg.io/a__b/c.d/e---f/g_h", "reg.io/a__b/c.d/e---f/g_h"),
            (f"reg.io/{HEX}", f"reg.io/{HEX}"),
            (f"docker.io/{HEX}", f"docker.io/library/{HEX}"),
            (f"team/{HEX}", f"docker.io/team/{HEX}"),
        ],
    )
    def test_registry_is_recognised_as_in_docker_pull(self, text: str, expected: str) -> None:
        """The first part is a registry iff a slash follows and it looks like a host, as in docker pull."""
        assert expected == str(parse_repository(text))

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("", "not a repository name"),
            ("/", "not a repository name"),
            ("quay.io/", "not a repository name"),
            ("quay.io//a", "not a repository name"),
            ("quay.io/a/", "not a repository name"),
            ("quay.io/Team/app", "lower case"),
            ("Team", "lower case"),
            ("quay.io/a..b", "not a repository name"),
            ("quay.io/a___b", "not a repository name"),
            ("quay.io/-a", "not a repository name"),
            ("quay.io/a\n", "not a repository name"),
            ("quay.io/a b", "not a repository name"),
            ("quay.io/ä", "not a repository name"),
            ("a:b", "not a repository name"),
            ("example.com:5000", "not a repository name"),
            ("quay.io:/a", "not a registry"),
            ("quay.io:123456/a", "not a registry"),
            ("-quay.io/a", "not a registry"),
            ("quay..io/a", "not a registry"),
            ("[::1%eth0]/a", "not a registry"),
            ("https://quay.io/a", "not a registry"),
            ("user@quay.io/a", "not a registry"),
            (HEX, "image ID"),
            (f"quay.io/{'a' * 256}", "256 characters"),
        ],
    )
    def test_error_names_the_invalid_part(self, text: str, word: str) -> None:
        """Text that is not a repository is refused, and the message names the invalid part."""
        with pytest.raises(RuleError, match=word):
            parse_repository(text)

    def test_path_has_at_most_255_characters(self) -> None:
        """A path has at most 255 characters, not counting the registry."""
        assert f"quay.io/{'a' * 255}" == str(parse_repository(f"quay.io/{'a' * 255}"))

    @given(st.text())
    @example("\ud800/a")
    def test_any_text_is_a_repository_or_a_rule_error(self, text: str) -> None:
        """Any text is either a repository or a RuleError."""
        with contextlib.suppress(RuleError):
            repository = parse_repository(text)
            assert parse_repository(str(repository)) == repository

    @given(references())
    def test_canonical_text_parses_to_itself(self, reference: Reference) -> None:
        """The canonical text of a repository parses to that repository."""
        assert reference.repository == parse_repository(str(reference.repository))


class TestParseReference:
    @given(references())
    def test_formatted_reference_parses_to_itself(self, reference: Reference) -> None:
        """A reference survives formatting and parsing."""
        assert reference == parse_reference(str(reference))

    @given(
        st.text()
        | references().map(str).flatmap(lambda text: st.sampled_from([text[1:], text + "\n", text.upper()]))
    )
    def test_only_formatted_references_parse(self, text: str) -> None:
        """Every text that parses is what `str` would write; any other text is a RuleError."""
        try:
            reference = parse_reference(text)
        except RuleError:
            return
        assert text == str(reference)

    def test_registry_without_a_dot_is_kept(self) -> None:
        """The first part is always the registry, even where docker pull would take it as part of the path."""
        assert Reference(Repository("foo", "bar"), "1") == parse_reference("foo/bar:1")

    @pytest.mark.parametrize(
        "text",
        [
            "nginx:1",
            "docker.io/nginx:1",
            "index.docker.io/library/nginx:1",
            "Quay.io/a:1",
            "quay.io/a",
            "quay.io/a:",
            "quay.io/a@",
            f"quay.io/a:1@{SHA256}",
            f"quay.io/a:{SHA256}",
            "quay.io/a@1",
            "quay.io/a@sha256:12",
            "quay.io:1",
            "quay.io/a:1:2",
            "quay.io/A:1",
            f"quay.io/{'a' * 256}:1",
        ],
    )
    def test_non_canonical_text_is_refused(self, text: str) -> None:
        """Short names, aliases, and references with no tag or with two are not canonical."""
        with pytest.raises(RuleError):
            parse_reference(text)


class TestNames:
    @pytest.mark.parametrize("text", ["latest", "v1.2.3", "_", "A", "0" * 128, "sha256-abc.sig", "a..b--c"])
    def test_valid_tags(self, text: str) -> None:
        """A tag has 1 to 128 ASCII letters, digits, underscores, dots and hyphens."""
        assert is_tag(text)

    @pytest.mark.parametrize("text", ["", ".a", "-a", "0" * 129, "a\n", "a b", "a:b", "a/b", "é", "٣", "a+b"])
    def test_invalid_tags(self, text: str) -> None:
        """A tag does not begin with a dot or hyphen or hold any other character, not even a final newline."""
        assert not is_tag(text)

    @pytest.mark.parametrize("text", [SHA256, SHA512])
    def test_valid_digests(self, text: str) -> None:
        """A digest is sha256 or sha512 with its full length."""
        assert is_digest(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            HEX,
            "sha256:",
            SHA256.upper(),
            SHA256[:-1],
            SHA256 + "0",
            SHA256 + "\n",
            f"sha512:{HEX}",
            f"blake3:{HEX}",
            f"sha256:{HEX[:-1]}g",
            f"sha256:{HEX[:-1]}٣",
            f"md5:{HEX[:32]}",
            f":{HEX}",
        ],
    )
    def test_invalid_digests(self, text: str) -> None:
        """Another algorithm, length or digit is not a valid digest."""
        assert not is_digest(text)

    def test_separator_by_kind_of_reference(self) -> None:
        """A reference by digest is written with an at sign, one by tag with a colon."""
        repository = Repository("quay.io", "a/b")
        assert f"quay.io/a/b@{SHA256}" == str(Reference(repository, SHA256))
        assert str(Reference(repository, "1")) == "quay.io/a/b:1"
        assert [Reference(repository, name).is_digest for name in (SHA256, "1")] == [True, False]

    def test_docker_hub_aliases_are_one_registry(self) -> None:
        """All names of Docker Hub are one registry; auth.docker.io is not among them."""
        names = ["docker.io", "index.docker.io", "registry-1.docker.io", "Registry.Hub.Docker.com"]
        assert {"docker.io"} == set(map(canonical_registry, names))
        assert canonical_registry("auth.docker.io") == "auth.docker.io"
