"""Manifests as bytes: digests, rewriting, and comparison."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DigestMismatchError, ManifestError
from pipeline.model.manifest import Manifest, compute_digest, config_platform, parse, same_json, without
from pipeline.model.platform import Platform
from tests.unit.model import documents as make

HTML = b"<html><body>Please log in</body></html>"
LINUX = {"os": "linux", "architecture": "amd64"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=6),
    max_leaves=20,
)
names = st.sampled_from(["os", "architecture", "variant", "os.version"])


def read_document(document: object) -> Manifest:
    """Parse a document under its own digest."""
    return make.read(make.encode(document))


class TestDigest:
    def test_mismatch_is_not_a_parse_error(self) -> None:
        """A manifest with another digest gives another error than bytes that are not a manifest."""
        content, expected = make.encode(make.image()), make.digest_of(b"other")
        with pytest.raises(DigestMismatchError) as raised:
            parse(content, "", expected)
        assert (expected, make.digest_of(content)) == (raised.value.expected, raised.value.actual)
        assert expected in str(raised.value)
        assert make.digest_of(content) in str(raised.value)

    def test_truncated_body_is_a_mismatch(self) -> None:
        """A truncated body is a digest mismatch, not broken JSON, since a retry may return all of it."""
        content = make.encode(make.image())
        with pytest.raises(DigestMismatchError):
            parse(content[:-9], make.OCI_IMAGE, make.digest_of(content))

    def test_sha512_digest_is_checked_and_kept(self) -> None:
        """A manifest requested by sha512 is checked with sha512 and keeps that digest."""
        content = make.encode(make.image())
        digest = make.digest_of(content, "sha512")
        assert digest == parse(content, "", digest).digest

    @pytest.mark.parametrize("digest", ["", "sha256:12", f"blake3:{'0' * 64}", f"sha256:{'A' * 64}"])
    def test_unsupported_algorithm_is_refused_before_parsing(self, digest: str) -> None:
        """A digest whose algorithm is not supported is refused before the content is trusted."""
        with pytest.raises(ManifestError, match="cannot be checked"):
            parse(make.encode(make.image()), "", digest)

    def test_only_sha256_and_sha512_are_supported(self) -> None:
        """Only sha256 and sha512 are supported."""
        with pytest.raises(ManifestError, match="md5"):
            compute_digest(b"", "", "md5")

    @pytest.mark.parametrize(
        "media_type", [make.SCHEMA1_SIGNED, make.SCHEMA1, "", "application/json; charset=utf-8"]
    )
    def test_signed_schema1_digest_excludes_signatures(self, media_type: str) -> None:
        """The digest of a signed schema 1 manifest covers the bytes without the signatures."""
        signed, payload = make.sign(make.schema1())
        assert make.digest_of(payload) == compute_digest(signed, media_type, "sha256")

    @pytest.mark.parametrize("media_type", [make.OCI_IMAGE, make.DOCKER_LIST])
    def test_signatures_of_other_types_are_ignored(self, media_type: str) -> None:
        """With another stated type, signatures in the document are ignored."""
        signed, _ = make.sign(make.schema1())
        assert make.digest_of(signed) == compute_digest(signed, media_type, "sha256")

    @pytest.mark.parametrize(
        "content", [make.encode(make.schema1(signatures=[])), HTML, b"", make.encode(make.image())]
    )
    def test_unsigned_digest_covers_all_bytes(self, content: bytes) -> None:
        """Without signatures the digest covers all bytes, whatever they are."""
        assert make.digest_of(content) == compute_digest(content, "", "sha256")

    @pytest.mark.parametrize(
        "signatures",
        [
            "abc",
            [5],
            [{}],
            [{"protected": 5}],
            [{"protected": "é"}],
            [{"protected": "e30"}],
            [{"protected": "eyJmb3JtYXRMZW5ndGgiOiA5OTk5OSwgImZvcm1hdFRhaWwiOiAiQ24wIn0"}],
            [{"protected": "eyJmb3JtYXRMZW5ndGgiOiAtMSwgImZvcm1hdFRhaWwiOiAiQ24wIn0"}],
            {"a": 1},
        ],
    )
    def test_broken_signatures_give_no_digest(self, signatures: object) -> None:
        """A digest cannot be computed if the signatures do not say what they cover."""
        with pytest.raises(ManifestError, match="signatures"):
            compute_digest(make.encode(make.schema1(signatures=signatures)), "", "sha256")


class TestWithout:
    def test_other_fields_are_kept_in_order(self) -> None:
        """Only entries are removed; all other fields of the index and of its entries stay, in order."""
        a, b, c = (
            make.entry(text, platform=LINUX, annotations={"é": "<&>"}, extra=[1.5])
            for text in (b"a", b"b", b"c")
        )
        document = {
            "annotations": {"z": "1", "a": "2"},
            **make.index(a, b, c),
            "subject": make.entry(b"s"),
            "artifactType": "x/y",
        }
        new = without(read_document(document), {a["digest"], c["digest"]}, replacing={})
        expected = json.dumps({**document, "manifests": [a, c]}, separators=(",", ":"), ensure_ascii=False)
        assert expected.encode() == new.content
        assert (make.OCI_INDEX, make.digest_of(new.content)) == (new.media_type, new.digest)
        assert [a["digest"], c["digest"]] == [child.digest for child in new.children]

    def test_rewritten_entry_gets_new_digest_and_size(self) -> None:
        """A rewritten entry gets the new digest and size, and loses the embedded copy of the old content."""
        inner = read_document(make.index(make.entry(b"a"), make.entry(b"b")))
        new_inner = without(inner, {make.digest_of(b"a")}, replacing={})
        outer = read_document(make.index(make.entry(inner.content, make.OCI_INDEX, data="e30=", urls=["x"])))
        new = without(outer, {inner.digest}, replacing={inner.digest: new_inner})
        expected = {
            "mediaType": make.OCI_INDEX,
            "digest": new_inner.digest,
            "size": len(new_inner.content),
            "urls": ["x"],
        }
        assert [expected] == json.loads(new.content)["manifests"]

    def test_media_type_and_algorithm_are_kept(self) -> None:
        """The new index keeps the media type and the digest algorithm of the old one."""
        content = make.encode(make.index(make.entry(b"a"), make.entry(b"b"), mediaType=None))
        old = parse(content, make.DOCKER_LIST, make.digest_of(content, "sha512"))
        new = without(old, {make.digest_of(b"a")}, replacing={})
        assert (make.DOCKER_LIST, make.digest_of(new.content, "sha512")) == (new.media_type, new.digest)

    def test_is_deterministic(self) -> None:
        """White space in the original does not change the new bytes, since records depend on their digest."""
        document = make.index(make.entry(b"a"), make.entry(b"b"))
        contents = [json.dumps(document, indent=indent).encode() for indent in (None, 1, 4)]
        assert (
            len(
                {
                    without(make.read(content), {make.digest_of(b"a")}, replacing={}).digest
                    for content in contents
                }
            )
            == 1
        )


class TestSameJson:
    @given(st.dictionaries(st.text(max_size=3), values, max_size=5), st.integers(0, 4))
    def test_layout_makes_no_difference(self, document: dict[str, object], indent: int) -> None:
        """White space, key order and escapes make no difference."""
        one = json.dumps(document, indent=indent, ensure_ascii=True)
        other = json.dumps(dict(reversed(document.items())), ensure_ascii=False)
        assert same_json(one.encode(), one.encode()) == same_json(one.encode(), other.encode())

    def test_key_order_makes_no_difference(self) -> None:
        """The same index with another layout is the same JSON."""
        assert same_json(b'{"a": [1, {"b": "<", "c": null}]}', b'{"a":[1,{"c":null,"b":"\\u003c"}]}')

    @pytest.mark.parametrize(
        "other",
        [
            b'{"a":[2,1]}',
            b'{"a":[1]}',
            b'{"a":[1,true]}',
            b'{"a":[1,"2"]}',
            b'{"a":[1,2],"b":null}',
            b"",
            b"[1,2]",
        ],
    )
    def test_other_values_or_list_order_differ(self, other: bytes) -> None:
        """Another list order, another value, or something that is not a JSON object is not the same."""
        assert not same_json(b'{"a":[1,2]}', other)

    def test_true_differs_from_one(self) -> None:
        """True and 1 are equal in Python but differ in JSON."""
        assert not same_json(b'{"a":1}', b'{"a":true}')


class TestConfigPlatform:
    def test_all_fields_are_read(self) -> None:
        """The platform in a config is read in normal form."""
        config = {
            "os": "Windows",
            "os.version": "10.0.1",
            "architecture": "x86_64",
            "variant": "v1",
            "rootfs": {},
        }
        assert Platform(os="windows", os_version="10.0.1", architecture="amd64") == config_platform(
            make.encode(config)
        )

    @pytest.mark.parametrize(
        "content", [b"{}", b"", HTML, b"[]", b'{"os": "", "architecture": null}', b'{"os": 5}', b"\xff"]
    )
    def test_document_without_a_platform(self, content: bytes) -> None:
        """A document that is not an image config, or that states no platform, has no platform."""
        assert config_platform(content) is None

    @given(st.dictionaries(names, values) | values)
    def test_any_json_is_read(self, document: object) -> None:
        """Any JSON either has a platform or has none."""
        found = config_platform(json.dumps(document).encode())
        assert found is None or isinstance(found, Platform)
