"""Trees: which manifests are still unread, and what a filter keeps, in push order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ManifestError
from pipeline.model.manifest import Descriptor, Manifest, ManifestKind, without
from pipeline.model.platform import Platform, parse_filter
from pipeline.model.pruning import Pruning
from pipeline.model.tree import Plan, Skip, prune, unread
from pipeline.settings import MAX_DEPTH, MAX_TREE_BYTES, MAX_TREE_ENTRIES
from tests.unit.model import documents as make
from tests.unit.model.trees import Read, digests, image, on, root_of, store

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYTHING = Pruning()
AMD64 = Pruning(platforms=parse_filter([], ["amd64"]))


def fake(digest: str, *children: str, size: int = 1) -> Manifest:
    """A manifest with an unchecked digest: an index if it has children."""
    entries = tuple(Descriptor(media_type=make.OCI_IMAGE, digest=child, size=size) for child in children)
    kind: ManifestKind = "index" if children else "image"
    return Manifest(content=b"{}", media_type=make.OCI_INDEX, digest=digest, kind=kind, children=entries)


def fakes(*manifests: Manifest) -> Mapping[str, Manifest]:
    """Manifests by digest."""
    return {manifest.digest: manifest for manifest in manifests}


class TestUnread:
    def test_root_is_read_first(self) -> None:
        """With nothing read, the root is missing."""
        assert unread("root", {}, EVERYTHING) == ("root",)

    def test_single_image_is_complete(self) -> None:
        """A single image is complete by itself."""
        read: Read = {}
        assert unread(root_of(image(read, "a")), read, AMD64) == ()

    def test_entries_are_listed_in_order(self) -> None:
        """Unread entries of an index are listed in its order, each once."""
        read: Read = {}
        there, missing = image(read, "a"), [make.encode(make.image(text)) for text in "cb"]
        entries = [make.entry(content) for content in (missing[0], there, missing[1], missing[0])]
        root = root_of(store(read, make.index(*entries)))
        assert tuple(map(root_of, missing)) == unread(root, read, EVERYTHING)

    def test_dropped_entries_are_not_read(self) -> None:
        """Entries that the filter drops are not read: images, attestations, indexes by their platform."""
        read: Read = {}
        names = ["amd64", "arm64", "amd64-attested", "arm64-attested", "index", "unstated"]
        amd, arm, amd_attested, arm_attested, inner, unstated = (
            make.encode(make.image(name)) for name in names
        )
        entries = [
            on("amd64", amd),
            on("arm64", arm),
            make.attestation(amd_attested, root_of(amd)),
            make.attestation(arm_attested, root_of(arm)) | {"platform": None},
            on("arm64", inner, make.OCI_INDEX),
            make.entry(unstated),
        ]
        root = root_of(store(read, make.index(*entries)))
        assert tuple(map(root_of, (amd, amd_attested, unstated))) == unread(root, read, AMD64)
        assert len(unread(root, read, EVERYTHING)) == 6

    def test_nested_index_entries_are_listed(self) -> None:
        """Once a nested index is read, its own entries are listed."""
        read: Read = {}
        content = make.encode(make.image("a"))
        inner = store(read, make.index(on("amd64", content)))
        root = root_of(store(read, make.index(make.entry(inner, make.OCI_INDEX))))
        assert unread(root, read, AMD64) == (root_of(content),)

    def test_too_deep_index_is_refused(self) -> None:
        """The deepest allowed chain of indexes is walked; a deeper one is refused."""
        names = [str(number) for number in range(MAX_DEPTH + 2)]
        chain = [fake(name, names[number + 1]) for number, name in enumerate(names[:-1])]
        assert unread("1", fakes(*chain), EVERYTHING) == (names[-1],)
        with pytest.raises(ManifestError, match=f"nested more than {MAX_DEPTH} deep"):
            unread("0", fakes(*chain), EVERYTHING)

    @pytest.mark.parametrize("children", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
    def test_circular_indexes_are_an_error(self, children: dict[str, str]) -> None:
        """Indexes that contain one another end in an error, not in a loop."""
        with pytest.raises(ManifestError, match="cycle"):
            unread("a", fakes(*(fake(name, child) for name, child in children.items())), EVERYTHING)

    @pytest.mark.timeout(10)
    def test_each_index_is_walked_once(self) -> None:
        """With levels of indexes that each name the whole next level, each index is walked once."""
        levels = [[f"{depth}.{number}" for number in range(60)] for depth in range(MAX_DEPTH + 1)]
        indexes = [fake(name, *levels[depth + 1]) for depth in range(1, MAX_DEPTH) for name in levels[depth]]
        read = fakes(fake("root", *levels[1]), *indexes)
        assert tuple(levels[-1]) == unread("root", read, EVERYTHING)

    def test_too_many_manifests_are_refused(self) -> None:
        """The largest allowed number of manifests is walked; one more is refused."""
        names = [str(number) for number in range(MAX_TREE_ENTRIES)]
        assert len(unread("root", fakes(fake("root", *names[1:])), EVERYTHING)) == MAX_TREE_ENTRIES - 1
        with pytest.raises(ManifestError, match=f"more than {MAX_TREE_ENTRIES} manifests"):
            unread("root", fakes(fake("root", *names)), EVERYTHING)

    def test_announced_size_counts_until_read(self) -> None:
        """The announced size counts until a manifest is read, then its own."""
        root = fake("root", "a", "b", size=MAX_TREE_BYTES // 2)
        with pytest.raises(ManifestError, match="more than 64 MiB"):
            unread("root", fakes(root), EVERYTHING)
        assert unread("root", fakes(root, fake("a")), EVERYTHING) == ("b",)


class TestPrune:
    @pytest.mark.parametrize(
        "platform", [None, Platform(os="linux", architecture="amd64"), Platform(os="linux")]
    )
    def test_wanted_image_is_its_own_plan(self, platform: Platform | None) -> None:
        """An image is its own plan if its platform is wanted or not stated."""
        manifest = replace(fake("a"), platform=platform)
        expected = Plan(manifests=(manifest,), dropped=0, original="a")
        assert expected == prune("a", {"a": manifest}, AMD64)

    def test_image_of_another_platform_is_skipped(self) -> None:
        """An image of another platform is skipped, and the reason names both platforms."""
        read = {"a": make.read(make.encode(make.schema1(architecture="arm64")))}
        expected = Skip(reason="its platform ?/arm64 does not match --arch amd64")
        assert expected == prune("a", read, AMD64)

    @pytest.mark.parametrize("wanted", [EVERYTHING, AMD64])
    def test_unfiltered_index_keeps_its_bytes(self, wanted: Pruning) -> None:
        """If everything is kept, with or without a filter, the original bytes are pushed, children first."""
        read: Read = {}
        one, two = image(read, "a"), image(read, "b")
        root = root_of(store(read, make.index(on("amd64", one), make.entry(two))))
        manifests = tuple(read[digest] for digest in (root_of(one), root_of(two), root))
        assert Plan(manifests=manifests, dropped=0, original=root) == prune(root, read, wanted)

    def test_filtered_index_keeps_attestations_and_fields(self) -> None:
        """If only some entries are kept, a new index has these, their attestations, and all other fields."""
        read: Read = {}
        amd, arm = image(read, "amd"), image(read, "arm")
        amd_attested, arm_attested = image(read, "amd attested"), image(read, "arm attested")
        entries = [
            make.attestation(amd_attested, root_of(amd)),
            on("arm64", arm),
            on("amd64", amd),
            make.attestation(arm_attested, root_of(arm)),
        ]
        root = root_of(store(read, make.index(*entries, annotations={"a": "b"})))
        outcome = prune(root, read, AMD64)
        assert isinstance(outcome, Plan)
        assert (2, root) == (outcome.dropped, outcome.original)
        assert [root_of(amd_attested), root_of(amd)] == digests(outcome)[:-1]
        expected = make.index(entries[0], entries[2], annotations={"a": "b"})
        assert expected == json.loads(outcome.manifests[-1].content)

    def test_image_for_two_platforms_is_kept(self) -> None:
        """An image for two platforms is kept if either is wanted."""
        read: Read = {}
        content = image(read, "a")
        root = root_of(store(read, make.index(on("arm64", content), on("amd64", content))))
        assert [root_of(content), root] == digests(prune(root, read, AMD64))

    @pytest.mark.parametrize(
        ("architecture", "kept"), [("amd64", "image blob"), ("riscv64", "blob")], ids=["some", "none"]
    )
    def test_listed_blob_is_kept_without_platform(self, architecture: str, kept: str) -> None:
        """A blob that an index lists stays unless it states a platform that is not wanted."""
        read: Read = {}
        one = on("amd64", image(read, "one"))
        blob, other = make.blob("blob"), make.blob("other", platform={"architecture": "s390x"})
        whole = store(read, make.index(one, blob, other))

        plan = prune(root_of(whole), read, Pruning(platforms=parse_filter([], [architecture])))

        assert isinstance(plan, Plan)
        named = {"image": one["digest"], "blob": blob["digest"]}
        top = plan.manifests[-1]
        assert [named[word] for word in kept.split()] == [d.digest for d in (*top.children, *top.blobs)]
        assert 3 - len(kept.split()) == plan.dropped

    def test_index_with_nothing_left_is_skipped(self) -> None:
        """An index with nothing left is skipped; the reason names its platforms and the filter."""
        entries = [on(name, make.encode(make.image(name))) for name in ("s390x", "arm64")]
        read: Read = {}
        entries.append(make.attestation(image(read, "attested"), entries[0]["digest"]))
        root = root_of(store(read, make.index(*entries)))
        expected = Skip(reason="no platform matches --arch amd64: there are linux/arm64, linux/s390x")
        assert expected == prune(root, read, AMD64)

    def test_reason_counts_surplus_platforms(self) -> None:
        """A reason names eight platforms and counts the rest."""
        read: Read = {}
        entries = [on(f"a{number}", f"{number}".encode()) for number in range(10)]
        outcome = prune(root_of(store(read, make.index(*entries))), read, AMD64)
        assert isinstance(outcome, Skip)
        assert outcome.reason.endswith("linux/a7 and 2 more")

    @pytest.mark.parametrize("wanted", [EVERYTHING, AMD64])
    def test_empty_index_is_pushed_unchanged(self, wanted: Pruning) -> None:
        """An empty index is pushed as it is, since no filter can drop anything from it."""
        read: Read = {}
        root = root_of(store(read, make.index()))
        assert Plan(manifests=(read[root],), dropped=0, original=root) == prune(root, read, wanted)

    def test_nested_empty_index_by_platform(self) -> None:
        """A nested empty index is kept if its platform is wanted, and dropped otherwise."""
        read: Read = {}
        empty = store(read, make.index())
        root = root_of(store(read, make.index(on("amd64", empty, make.OCI_INDEX), on("arm64", b"gone"))))
        outcome = prune(root, read, AMD64)
        assert isinstance(outcome, Plan)
        assert root_of(empty) == outcome.manifests[0].digest
        assert 1 == outcome.dropped
        read = {}
        root = root_of(store(read, make.index(on("arm64", store(read, make.index()), make.OCI_INDEX))))
        assert isinstance(prune(root, read, AMD64), Skip)

    def test_filtered_nested_index_is_rewritten_or_dropped(self) -> None:
        """A filtered nested index is rewritten in its parent, or dropped from it if nothing is left."""
        read: Read = {}
        amd, arm = image(read, "amd"), image(read, "arm")
        both = store(read, make.index(on("amd64", amd), on("arm64", arm)))
        only_arm = store(read, make.index(on("arm64", arm)))
        entries = [make.entry(content, make.OCI_INDEX) for content in (only_arm, both)]
        root = root_of(store(read, make.index(*entries)))
        new_inner = without(make.read(both), {root_of(amd)}, replacing={})
        new_root = without(read[root], {root_of(both)}, replacing={root_of(both): new_inner})
        expected = Plan(manifests=(read[root_of(amd)], new_inner, new_root), dropped=3, original=root)
        assert expected == prune(root, read, AMD64)

    def test_image_without_nested_indexes_left_is_skipped(self) -> None:
        """If every nested index is dropped, the image is skipped, and the reason names their platforms."""
        read: Read = {}
        inner = store(read, make.index(on("arm64", image(read, "arm"))))
        root = root_of(store(read, make.index(make.entry(inner, make.OCI_INDEX))))
        expected = Skip(reason="no platform matches --arch amd64: there are linux/arm64")
        assert expected == prune(root, read, AMD64)

    def test_attestation_of_a_dropped_index(self) -> None:
        """The attestation of a dropped nested index is dropped too."""
        read: Read = {}
        amd, attested = image(read, "amd"), image(read, "attested")
        inner = store(read, make.index(on("arm64", image(read, "arm"))))
        entries = [make.entry(inner, make.OCI_INDEX), make.attestation(attested, root_of(inner))]
        root = root_of(store(read, make.index(*entries, on("amd64", amd))))
        assert [root_of(amd)] == digests(prune(root, read, AMD64))[:-1]

    def test_manifest_at_two_depths_is_pushed_once(self) -> None:
        """A manifest that is named at two depths is pushed once, before all its parents."""
        read: Read = {}
        content = image(read, "a")
        inner = store(read, make.index(make.entry(content)))
        outer = store(read, make.index(make.entry(content), make.entry(inner, make.OCI_INDEX)))
        entries = [make.entry(index, make.OCI_INDEX) for index in (inner, outer)]
        root = root_of(store(read, make.index(*entries)))
        expected = [root_of(content), root_of(inner), root_of(outer), root]
        assert expected == digests(prune(root, read, EVERYTHING))


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, Read]:
    """An image with up to four levels of indexes, shared children, attestations, and unstated platforms."""
    read: Read = {}
    level = [image(read, str(number)) for number in range(draw(st.integers(1, 4)))]
    types = [make.OCI_IMAGE] * len(level)
    for depth in range(draw(st.integers(0, 4))):
        above = []
        for number in range(draw(st.integers(1, 2))):
            chosen = draw(st.lists(st.integers(0, len(level) - 1), max_size=4))
            entries = [draw_entry(draw, level[place], types[place]) for place in chosen]
            attested = draw(st.lists(st.sampled_from(entries), max_size=2)) if entries else []
            names = [entry["digest"] for entry in attested]
            entries += [make.attestation(image(read, f"of {name}"), name) for name in names]
            document = make.index(*draw(st.permutations(entries)), annotations={"at": f"{depth}.{number}"})
            above.append(store(read, document))
        level, types = level + above, types + [make.OCI_INDEX] * len(above)
    return root_of(level[-1]), read


def draw_entry(draw: st.DrawFn, content: bytes, media_type: str) -> dict[str, Any]:
    """An entry with or without a platform."""
    architecture = draw(st.sampled_from(["amd64", "arm64", "s390x", None]))
    if architecture is None:
        return make.entry(content, media_type)
    return on(architecture, content, media_type)


filters = st.sampled_from(["", "amd64", "arm64,amd64", "386"]).map(
    lambda arch: Pruning(platforms=parse_filter([], [arch] if arch else []))
)


def survivors(digest: str, read: Read, wanted: Pruning) -> set[str] | None:
    """Digests of the images that the filter keeps below a manifest; None if the manifest is dropped."""
    manifest = read[digest]
    if manifest.kind != "index":
        return {digest}
    found: dict[str, set[str]] = {}
    for child in manifest.children:
        if not child.attests and wanted.platforms.matches(child.platform):
            images = survivors(child.digest, read, wanted)
            if images is not None:
                found[child.digest] = images
    if manifest.children and not found:
        return None
    attested = {child.digest for child in manifest.children if child.attests and child.attests in found}
    return attested.union(*found.values())


def assert_push_order(plan: Plan) -> None:
    """Each manifest is pushed once, after its children, and each but the last has a parent."""
    pushed: set[str] = set()
    named: set[str] = set()
    for manifest in plan.manifests:
        children = {child.digest for child in manifest.children}
        assert manifest.digest not in pushed
        assert children <= pushed
        pushed.add(manifest.digest)
        named |= children
    assert named == pushed - {plan.manifests[-1].digest}


class TestAnyTree:
    @given(trees(), filters)
    def test_right_images_are_kept_in_push_order(self, tree: tuple[str, Read], wanted: Pruning) -> None:
        """From any tree the right images are kept, in push order, and an unfiltered root keeps its bytes."""
        root, read = tree
        expected = survivors(root, read, wanted)
        outcome = prune(root, read, wanted)
        if isinstance(outcome, Skip):
            assert expected is None
            return
        assert expected == {item.digest for item in outcome.manifests if item.kind != "index"}
        assert_push_order(outcome)
        assert (outcome.dropped == 0) == (outcome.manifests[-1] == read[root])

    @given(trees(), filters)
    def test_reading_the_unread_completes_any_tree(self, tree: tuple[str, Read], wanted: Pruning) -> None:
        """Reading what `unread` names until nothing is missing is enough to prune."""
        root, everything = tree
        read: Read = {}
        while missing := unread(root, read, wanted):
            assert set(missing).isdisjoint(read)
            read.update((digest, everything[digest]) for digest in missing)
        assert prune(root, everything, wanted) == prune(root, read, wanted)

    @given(trees(), filters)
    def test_answer_order_does_not_change_the_plan(self, tree: tuple[str, Read], wanted: Pruning) -> None:
        """The order of the answers does not change a byte of the plan."""
        root, read = tree
        assert prune(root, read, wanted) == prune(root, dict(reversed(read.items())), wanted)
