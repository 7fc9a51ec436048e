"""Manifests: recognition, parsing, digests, rewriting."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import ManifestError
from pipeline.model.manifest import ACCEPT, KINDS, Descriptor, Manifest, compute_digest, parse
from pipeline.model.platform import Platform
from pipeline.settings import MAX_MANIFEST
from tests.unit.model import documents as make

HTML = b"<html><body>Please log in</body></html>"
LINUX = {"os": "linux", "architecture": "amd64"}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
digests = st.sampled_from(
    [make.digest_of(b"a"), make.digest_of(b"b"), make.digest_of(b"c", "sha512"), "sha256:1"]
)
types = st.sampled_from([*KINDS, "", "application/json", "text/html", make.OCI_CONFIG, make.DOCKER_CONFIG])
keys = ["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "fsLayers", "signatures"]
keys += ["digest", "size", "platform", "annotations", "blobSum", "architecture", "os", "protected", "urls"]
keys += ["vnd.docker.reference.digest", "formatLength", "formatTail"]
values = st.recursive(
    scalars | digests | types | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(keys) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=30,
)
blobs = st.fixed_dictionaries(
    {"mediaType": types, "digest": digests, "size": st.integers(-1, 9)},
    optional={"platform": values, "annotations": values, "urls": values},
)
close = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([1, 2, None, True, "2"]),
        "mediaType": types | values,
        "config": blobs | values,
        "layers": st.lists(blobs, max_size=3) | values,
        "manifests": st.lists(blobs, max_size=3) | values,
        "blobs": st.lists(blobs, max_size=3) | values,
        "fsLayers": st.lists(st.fixed_dictionaries({"blobSum": digests | values}), max_size=3) | values,
        "signatures": st.lists(st.fixed_dictionaries({"protected": st.just("e30") | values}), max_size=2)
        | values,
        "architecture": values,
    },
)
"""Objects that are nearly manifests."""


def parse_document(document: object, content_type: str = "") -> Any:
    """Parse a document under its own digest; returns Any, since tests compare its parts."""
    return make.read(make.encode(document), content_type)


def without_type(document: dict[str, Any]) -> dict[str, Any]:
    """The same manifest without its media type."""
    return {name: value for name, value in document.items() if name != "mediaType"}


def assert_sound(manifest: Manifest) -> None:
    """The manifest's kind fits its type; its blobs are unique and have a size."""
    assert KINDS[manifest.media_type] == manifest.kind
    assert all(blob.size >= 0 or manifest.kind == "schema1" for blob in manifest.blobs)
    assert len(manifest.blobs) == len({blob.digest for blob in manifest.blobs})


class TestRecognising:
    @pytest.mark.parametrize(
        "content_type", ["", "application/json", "text/plain; charset=utf-8", "application/octet-stream"]
    )
    @pytest.mark.parametrize(
        ("document", "media_type", "kind"),
        [
            (make.image(), make.OCI_IMAGE, "image"),
            (without_type(make.image()), make.OCI_IMAGE, "image"),
            (
                without_type(make.image(config=make.blob("{}", make.DOCKER_CONFIG))),
                make.DOCKER_IMAGE,
                "image",
            ),
            (
                without_type(make.image(config=make.blob("{}", "application/vnd.cncf.helm.config.v1+json"))),
                make.OCI_IMAGE,
                "image",
            ),
            (make.index(), make.OCI_INDEX, "index"),
            (without_type(make.index()), make.OCI_INDEX, "index"),
            (without_type(make.index(make.entry(b"a", make.OCI_IMAGE))), make.OCI_INDEX, "index"),
            (without_type(make.index(make.entry(b"a", make.DOCKER_IMAGE))), make.DOCKER_LIST, "index"),
            (
                without_type(
                    make.index(make.entry(b"a", make.DOCKER_IMAGE), make.entry(b"b", make.OCI_IMAGE))
                ),
                make.OCI_INDEX,
                "index",
            ),
            (make.schema1(), make.SCHEMA1, "schema1"),
            ({"mediaType": make.OCI_ARTIFACT, "blobs": [make.blob("a")]}, make.OCI_ARTIFACT, "image"),
            ({"mediaType": make.OCI_ARTIFACT}, make.OCI_ARTIFACT, "image"),
            ({"blobs": [make.blob("a")]}, make.OCI_ARTIFACT, "image"),
        ],
    )
    def test_type_by_media_type_or_fields(
        self, content_type: str, document: object, media_type: str, kind: str
    ) -> None:
        """An uninformative Content-Type leaves the decision to the manifest's type, then to its fields."""
        manifest = parse_document(document, content_type)
        assert (media_type, kind) == (manifest.media_type, manifest.kind)

    @pytest.mark.parametrize("media_type", [make.OCI_IMAGE, make.DOCKER_IMAGE])
    def test_type_by_content_type(self, media_type: str) -> None:
        """A known Content-Type decides where the manifest has no type; parameters and case do not matter."""
        document = without_type(make.image())
        header = f" {media_type.upper()} ; charset=utf-8"
        assert media_type == parse_document(document, header).media_type

    def test_signed_schema1_by_its_signatures(self) -> None:
        """The signatures of a schema 1 manifest, not the Content-Type, decide whether it is signed."""
        signed, payload = make.sign(make.schema1())
        assert parse(signed, make.SCHEMA1, make.digest_of(payload)).media_type == make.SCHEMA1_SIGNED
        assert make.read(payload, make.SCHEMA1_SIGNED).media_type == make.SCHEMA1

    def test_media_type_wins_over_an_unknown_content_type(self) -> None:
        """The manifest's own type wins over an unknown Content-Type, such as one from a proxy."""
        assert parse_document(make.image(), "text/html").media_type == make.OCI_IMAGE

    @pytest.mark.parametrize(
        ("document", "content_type", "words"),
        [
            (make.image(mediaType="application/x-new"), make.OCI_IMAGE, "application/x-new"),
            (without_type(make.image()), "application/x-new; a=b", "application/x-new"),
            (make.image(), make.DOCKER_IMAGE, "says its type is"),
            (make.image(manifests=[]), "", "ambiguous.*manifests"),
            (without_type(make.image(manifests=[])), "", "ambiguous.*config and manifests"),
            (make.index(config=make.blob("{}")), "", "ambiguous.*config"),
            (make.index(layers=[]), "", "ambiguous.*layers"),
            (without_type(make.index(layers=[])), "", "ambiguous.*layers"),
            (make.schema1(manifests=[]), "", "ambiguous.*manifests"),
            (make.image(schemaVersion=1), "", "schemaVersion 1"),
            (make.image(schemaVersion=True), "", "schemaVersion True"),
            (make.schema1(schemaVersion=True), make.SCHEMA1, "schemaVersion True"),
            (make.image(schemaVersion="2"), "", "schemaVersion '2'"),
            (make.schema1(), make.DOCKER_IMAGE, "schemaVersion 1"),
            (make.image(mediaType=5), "", "mediaType is not text"),
            ({}, "", "it has nothing"),
            ({"a\n": 1}, "", r"it has 'a\\n'"),
            ({"name": "a", "tags": []}, "", "not a manifest; it has 'name', 'tags'"),
            ({"config": {}, "rootfs": {}}, "", "not a manifest; it has 'config', 'rootfs'"),
        ],
    )
    def test_unknown_or_ambiguous_type_is_refused(
        self, document: object, content_type: str, words: str
    ) -> None:
        """Unknown types are named, and a manifest that two readers could interpret differently is refused."""
        with pytest.raises(ManifestError, match=words):
            parse_document(document, content_type)

    def test_null_list_is_not_ambiguous(self) -> None:
        """Null is how Go writes an empty list; it does not make a manifest ambiguous."""
        assert len(parse_document(make.image(manifests=None, layers=None)).blobs) == 1
        assert parse_document(make.index(manifests=None, config=None)).children == ()

    def test_accept_header_lists_every_type(self) -> None:
        """The Accept header lists every type, so that no registry converts or hides a manifest."""
        assert list(KINDS) == ACCEPT.split(", ")


class TestParsing:
    def test_blobs_of_an_image(self) -> None:
        """The blobs of an image are its config, then its layers in order, each digest once."""
        config = make.blob("{}", make.OCI_CONFIG)
        one, two = make.blob("one"), make.blob("two", urls=["https://example.com/two"])
        manifest = parse_document(
            make.image(config=config, layers=[one, two, one, {**config, "mediaType": "x"}])
        )
        expected = (
            Descriptor(media_type=make.OCI_CONFIG, digest=config["digest"], size=2),
            Descriptor(media_type=one["mediaType"], digest=one["digest"], size=3),
            Descriptor(media_type=two["mediaType"], digest=two["digest"], size=3, has_urls=True),
        )
        assert expected == manifest.blobs

    def test_bytes_are_kept(self) -> None:
        """The content is kept byte for byte, including white space and unknown fields."""
        content = make.encode(make.image(unknown={"a": 1.50}))
        assert content == make.read(content).content

    def test_entries_of_an_index(self) -> None:
        """An index yields its entries in order, with normalised platforms and attested digests."""
        entries = [
            make.entry(b"a", platform={"os": "Linux", "architecture": "aarch64", "variant": "v8"}),
            make.entry(b"b", make.OCI_INDEX),
            make.entry(
                b"c",
                platform={"os": "windows", "architecture": "amd64", "os.version": "10.0", "os.features": []},
            ),
            make.attestation(b"d", make.digest_of(b"a")),
            make.entry(b"e", platform={}),
            make.entry(b"a", platform={"os": "linux", "architecture": "arm64"}),
        ]
        children = parse_document(make.index(*entries)).children
        assert [make.digest_of(text) for text in (b"a", b"b", b"c", b"d", b"e")] == [
            c.digest for c in children
        ]
        assert [
            Platform(os="linux", architecture="arm64"),
            None,
            Platform(os="windows", architecture="amd64", os_version="10.0"),
            Platform(os="unknown", architecture="unknown"),
            None,
        ] == [child.platform for child in children]
        assert ["", "", "", make.digest_of(b"a"), ""] == [child.attests for child in children]

    def test_one_digest_for_two_platforms(self) -> None:
        """An image for two platforms keeps both entries, so that a filter for either finds it."""
        arms = [
            make.entry(b"a", platform={"os": "linux", "architecture": "arm", "variant": v})
            for v in ("v6", "v7")
        ]
        assert [child.platform.variant for child in parse_document(make.index(*arms)).children] == [
            "v6",
            "v7",
        ]

    def test_layers_of_schema1(self) -> None:
        """Schema 1 yields its layers as listed, each once and without a size, and its architecture."""
        manifest = parse_document(make.schema1(architecture="x86_64"))
        assert [make.digest_of(text) for text in (b"top", b"empty", b"base")] == [
            b.digest for b in manifest.blobs
        ]
        assert {-1} == {blob.size for blob in manifest.blobs}
        assert Platform(architecture="amd64") == manifest.platform
        assert parse_document(make.schema1(architecture="")).platform is None

    def test_artifact_manifest_has_blobs_but_no_config(self) -> None:
        """The withdrawn artifact manifest is an image with blobs but without a config."""
        manifest = parse_document({"mediaType": make.OCI_ARTIFACT, "blobs": [make.blob("a"), make.blob("b")]})
        assert [make.digest_of(b"a"), make.digest_of(b"b")] == [blob.digest for blob in manifest.blobs]

    def test_image_without_layers(self) -> None:
        """An artifact may have an empty config and no layers; the config still counts as a blob."""
        manifest = parse_document(
            make.image(layers=[], config=make.blob("{}", "application/vnd.oci.empty.v1+json"))
        )
        assert [blob.digest for blob in manifest.blobs] == [
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        ]

    @pytest.mark.parametrize("size", [-1, True, "1", 1.0, None, 1 << 63, [], 10**90])
    def test_invalid_size_is_refused(self, size: object) -> None:
        """A size is an integer from 0 to 2**63 - 1; `true` is refused."""
        with pytest.raises(ManifestError, match=r"layers\[0\] has no size"):
            parse_document(make.image(layers=[make.blob("a") | {"size": size}]))

    def test_smallest_and_largest_sizes_are_valid(self) -> None:
        """Zero and the largest allowed number are valid sizes."""
        layers = [make.blob("a") | {"size": 0}, make.blob("b") | {"size": (1 << 63) - 1}]
        assert [blob.size for blob in parse_document(make.image(layers=layers)).blobs] == [
            2,
            0,
            (1 << 63) - 1,
        ]

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            (
                make.image(layers=[make.blob("a") | {"digest": "sha256:1"}]),
                r"layers\[0\] has no sha256 or sha512 digest.*sha256:1",
            ),
            (
                make.image(layers=[make.blob("a") | {"digest": None}]),
                r"layers\[0\] has no sha256 or sha512 digest",
            ),
            (make.image(layers=[make.blob("a") | {"digest": 5}]), r"layers\[0\]: digest is not text"),
            (make.image(layers=[make.blob("a") | {"mediaType": 5}]), r"layers\[0\]: mediaType is not text"),
            (make.image(layers=[make.blob("a"), 5]), r"layers\[1\] is not an object"),
            (
                make.image(layers=[make.blob("a") | {"size": {}}]),
                r"layers\[0\] has no size: a list or an object",
            ),
            (make.image(layers={}), "layers is not a list"),
            (make.image(config=None), "no config"),
            (make.image(config=[]), "no config"),
            (make.index(manifests="all"), "manifests is not a list"),
            (make.index(make.entry(b"a"), make.entry(b"b", size=-5)), r"manifests\[1\] has no size"),
            ({"schemaVersion": 2, "mediaType": make.OCI_INDEX}, "no list of manifests"),
            (make.schema1(fsLayers=[{}]), r"fsLayers\[0\] has no sha256 or sha512 digest"),
        ],
    )
    def test_error_names_the_field(self, document: object, words: str) -> None:
        """An error in a manifest names the field."""
        with pytest.raises(ManifestError, match=words):
            parse_document(document)

    def test_manifest_over_4_mib_is_refused(self) -> None:
        """A manifest has at most 4 MiB, including white space."""
        content = make.encode(make.image())
        assert make.read(content + b" " * (MAX_MANIFEST - len(content))).kind == "image"
        with pytest.raises(ManifestError, match="limit is 4 MiB"):
            make.read(content + b" " * (MAX_MANIFEST - len(content) + 1))

    @pytest.mark.parametrize(
        "content", [b"", b"<html></html>", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 1}']
    )
    def test_invalid_json_is_refused(self, content: bytes) -> None:
        """Bytes that are not a JSON object, or that two readers could parse differently, are refused."""
        with pytest.raises(ManifestError):
            make.read(content)

    @given(values | close, types | st.text(max_size=5))
    def test_any_json_parses_or_raises_manifest_error(self, document: object, content_type: str) -> None:
        """Any JSON either parses to a manifest with valid descriptors or raises ManifestError."""
        content = json.dumps(document).encode()
        with contextlib.suppress(ManifestError):
            assert_sound(parse(content, content_type, compute_digest(content, content_type, "sha256")))

    @given(st.binary() | st.text().map(str.encode), types)
    @example(b'{"schemaVersion":1,"signatures":[{"protected":"e30"}]}', "")
    def test_any_bytes_parse_or_raise_manifest_error(self, content: bytes, content_type: str) -> None:
        """Any bytes either parse to a manifest or raise ManifestError."""
        with contextlib.suppress(ManifestError):
            assert_sound(parse(content, content_type, make.digest_of(content)))
