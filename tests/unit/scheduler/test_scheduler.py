"""The scheduler step by step: each test is a world, rules, and the result."""

from __future__ import annotations

from pipeline.errors import Fault
from pipeline.model.messages import CopyBlob, FetchManifest, HeadManifests, PushManifest, ReferencesMissing
from pipeline.model.platform import parse_filter
from pipeline.settings import Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, index, manifest, rule


def test_copies_one_image() -> None:
    """A tag that the destination lacks is copied with everything it needs."""
    world = World()
    world.push(f"{SOURCE}/a", image("one", "two"), "v1")

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert world.complete(f"{MIRROR}/a", "v1")
    assert (1, 1, 0) == (scheduler.figures.known, scheduler.figures.copied, scheduler.figures.failed)


def test_minimal_requests_for_a_new_image() -> None:
    """A new image with a config and two layers costs 2 HEADs, a list, a GET and PUT, and 3 per blob."""
    world = World()
    world.push(f"{SOURCE}/a", image("one", "two"), "v1")

    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert {"HEAD": 2, "LIST": 1, "GET": 4, "POST": 3, "PUT": 4} == dict(world.requests)


def test_unchanged_costs_two_heads() -> None:
    """A second run sends only one HEAD to each side, also for an index."""
    world = World()
    amd, arm = image("base", "amd"), image("base", "arm")
    world.push(f"{SOURCE}/a", index((amd, "amd64"), (arm, "arm64")), "v1", children=[amd, arm])
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
    world.run(rules, "first")
    world.requests.clear()

    scheduler = world.run(rules, "second")

    assert {"HEAD": 2} == dict(world.requests)
    assert 1 == scheduler.figures.unchanged


def test_shared_blob_crosses_once() -> None:
    """A blob that three repositories need is uploaded once and mounted twice."""
    world = World()
    for name in "abc":
        world.push(f"{SOURCE}/{name}", image("base", salt=name), "v1")

    world.run([rule(f"{SOURCE}/{n}:v1", f"{MIRROR}/{n}", number=i) for i, n in enumerate("abc")])

    assert 1 == world.uploads[MIRROR, digest(b"base")]
    assert all(world.complete(f"{MIRROR}/{name}", "v1") for name in "abc")


def test_mounts_refused() -> None:
    """If mounts are refused, every repository gets its own upload, without waiting after two refusals."""
    world = World(mounts=False)
    for name in "abcd":
        world.push(f"{SOURCE}/{name}", image("base", salt=name), "v1")

    scheduler = world.run([rule(f"{SOURCE}/{n}:v1", f"{MIRROR}/{n}", number=i) for i, n in enumerate("abcd")])

    assert 4 == world.uploads[MIRROR, digest(b"base")]
    assert 4 == scheduler.figures.copied


def test_first_mount_is_read_back() -> None:
    """Mounts are read back until one was found, since a registry may confirm a mount without doing it."""
    world = World(limits=Limits(bodies=1, requests=1))
    for name in "abcd":
        world.push(f"{SOURCE}/{name}", image("base", salt=name), "v1")

    world.run([rule(f"{SOURCE}/{n}:v1", f"{MIRROR}/{n}", number=i) for i, n in enumerate("abcd")])

    mounts = [task for task in world.done if isinstance(task, CopyBlob) and task.mount]
    assert [True, False, False] == [task.check for task in mounts]


def test_first_uploader_killed() -> None:
    """When the leader's worker dies, the same copy is given out again, and the others mount from it."""
    world = World()
    for name in "abc":
        world.push(f"{SOURCE}/{name}", image("base", salt=name), "v1")
    world.lose(f"move {MIRROR}/a@{digest(b'base')}")

    scheduler = world.run([rule(f"{SOURCE}/{n}:v1", f"{MIRROR}/{n}", number=i) for i, n in enumerate("abc")])

    assert 1 == world.uploads[MIRROR, digest(b"base")]
    assert 3 == scheduler.figures.copied


def test_leader_fails_at_the_source() -> None:
    """A fault at the source fails only requests from that source, and another source takes the lead."""
    world = World()
    world.push(f"{SOURCE}/a", image("base", salt="a"), "v1")
    world.push("other.example.com/b", image("base", salt="b"), "v1")
    world.store(f"{SOURCE}/a").blobs.discard(digest(b"base"))

    scheduler = world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", f"{MIRROR}/a2"),
            rule("other.example.com/b:v1", f"{MIRROR}/b", number=1),
        ]
    )

    assert (1, 2) == (scheduler.figures.copied, scheduler.figures.failed)
    assert world.complete(f"{MIRROR}/b", "v1")
    moves = [t for t in world.done if isinstance(t, CopyBlob) and t.blob.digest == digest(b"base")]
    assert 2 == len(moves)


def test_leader_fails_at_the_destination() -> None:
    """A fault at the destination fails that repository only, and the next one takes the lead."""
    world = World()
    for name in "abc":
        world.push(f"{SOURCE}/{name}", image("base", salt=name), "v1")
    world.fail(f"move {MIRROR}/a@{digest(b'base')}", side="destination", status=403, registry=MIRROR)

    scheduler = world.run([rule(f"{SOURCE}/{n}:v1", f"{MIRROR}/{n}", number=i) for i, n in enumerate("abc")])

    assert (2, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert 1 == world.uploads[MIRROR, digest(b"base")]


def test_child_shared_by_two_tags() -> None:
    """A child manifest of two tags is read once and pushed once."""
    world = World()
    shared, other = image("base"), image("else")
    world.push(f"{SOURCE}/a", index((shared, "amd64")), "v1", children=[shared])
    world.push(f"{SOURCE}/a", index((shared, "amd64"), (other, "arm64")), "v2", children=[shared, other])

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert world.complete(f"{MIRROR}/a", "v1")
    assert world.complete(f"{MIRROR}/a", "v2")
    keys = [task.key for task in world.done]
    assert 1 == keys.count(f"read {SOURCE}/a@{digest(shared)}")
    assert 1 == keys.count(f"put {MIRROR}/a@{digest(shared)}")


def test_tags_of_one_digest_are_read_once() -> None:
    """`latest`, `1` and `1.2` on one digest, and three destinations of it, cost one read of each manifest."""
    world = World()
    child = image("base")
    world.push(f"{SOURCE}/a", index((child, "amd64")), "latest", "1", "1.2", children=[child])

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", f"{MIRROR}/b", "third.example.net/c")])

    assert 2 == sum(isinstance(task, FetchManifest) for task in world.done)


def test_retag_within_a_repository_is_one_put() -> None:
    """A retag within one repository costs two HEADs, one GET and one PUT."""
    world = World()
    child = image("base")
    world.push(f"{MIRROR}/a", index((child, "amd64")), "v1", children=[child])

    world.run([rule(f"{MIRROR}/a:v1", f"{MIRROR}/a:stable")])

    assert {"HEAD": 2, "GET": 1, "PUT": 1} == dict(world.requests)
    assert world.complete(f"{MIRROR}/a", "stable")


def test_copy_within_a_registry_mounts_every_blob() -> None:
    """A copy within one registry mounts every blob."""
    world = World()
    world.push(f"{MIRROR}/a", image("base", "top"), "v1")

    world.run([rule(f"{MIRROR}/a:v1", f"{MIRROR}/b")])

    assert not world.uploads
    assert world.complete(f"{MIRROR}/b", "v1")


def test_source_equals_destination() -> None:
    """An image whose source is its destination is up to date after one HEAD."""
    world = World()
    world.push(f"{MIRROR}/a", image("base"), "v1")

    scheduler = world.run([rule(f"{MIRROR}/a:v1", f"{MIRROR}/a:v1")])

    assert {"HEAD": 1} == dict(world.requests)
    assert 1 == scheduler.figures.unchanged


def test_page_lost_with_its_worker() -> None:
    """A page of tags that is lost with its worker is requested again, without missing or duplicate tags."""
    world = World()
    world.page_size = 3
    for number in range(10):
        world.push(f"{SOURCE}/a", image(f"layer {number}"), f"v{number}")
    world.lose(f"expand {SOURCE}/a?3")

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert 10 == scheduler.figures.copied
    assert all(world.complete(f"{MIRROR}/a", f"v{number}") for number in range(10))


def test_unknown_blobs_are_sent_after_a_refused_push() -> None:
    """After a push that is refused for unknown blobs, each blob is looked up, and sent if it is missing."""
    world = World()
    world.push(f"{SOURCE}/a", image("base", "top"), "v1")
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
    scheduler = world.scheduler(rules)
    tasks = world.take_all(scheduler)
    while not any(isinstance(task, PushManifest) for task in tasks):
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    world.store(f"{MIRROR}/a").blobs.discard(digest(b"base"))
    for task in tasks:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert world.complete(f"{MIRROR}/a", "v1")
    assert 2 == world.uploads[MIRROR, digest(b"base")]


def test_always_unknown_blob_fails_after_two_heals() -> None:
    """A registry that never recognises its content fails the image after two heals."""
    world = World()
    world.push(f"{SOURCE}/a", image("base"), "v1")
    refusal = Fault(operation="put", words="blob unknown", status=400)
    world.script[f"put {MIRROR}/a:v1"] += [lambda task: ReferencesMissing(key=task.key, fault=refusal)] * 9

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 3 == sum(isinstance(task, PushManifest) for task in world.done)
    assert 1 == scheduler.figures.failed


def test_children_of_unrecorded_index_are_looked_up() -> None:
    """For equal tags without a record, children are looked up once, and missing ones are sent."""
    world = World()
    amd, arm = image("base", "amd"), image("base", "arm")
    both = index((amd, "amd64"), (arm, "arm64"))
    world.push(f"{SOURCE}/a", both, "v1", children=[amd, arm])
    world.push(f"{MIRROR}/a", both, "v1", children=[amd])

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert world.complete(f"{MIRROR}/a", "v1")
    assert 1 == scheduler.figures.copied
    keys = [task.key for task in world.done if isinstance(task, HeadManifests)]
    assert 3 == len(keys)


def test_reserialised_index_is_up_to_date() -> None:
    """A destination whose index is the same JSON in other bytes counts as up to date."""
    world = World()
    child = image("base")
    here = index((child, "amd64"))
    there = here.replace(b'": ', b'":')
    world.push(f"{SOURCE}/a", here, "v1", children=[child])
    world.push(f"{MIRROR}/a", there, "v1", children=[child])

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.unchanged
    assert digest(there) == world.store(f"{MIRROR}/a").tags["v1"]


def test_filter_rewrites_an_index() -> None:
    """A filter that drops an entry writes a new index; the second run costs two HEADs."""
    world = World()
    world.filter = parse_filter([], ["amd64"])
    amd, arm = image("amd"), image("arm")
    inner = index((arm, "arm64"), (amd, "amd64"))
    world.push(f"{SOURCE}/a", index(inner), "v1", children=[amd, arm, inner])
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]

    world.run(rules, "first")

    store = world.store(f"{MIRROR}/a")
    assert world.complete(f"{MIRROR}/a", "v1")
    assert digest(arm) not in store.manifests
    top = manifest(store.manifests[store.tags["v1"]])
    assert [digest(amd)] == [c.digest for c in manifest(store.manifests[top.children[0].digest]).children]
    world.requests.clear()
    world.run(rules, "second")
    assert {"HEAD": 2} == dict(world.requests)


def test_confirmed_blobs_are_not_sent_after_a_kill() -> None:
    """After a killed run, blobs that the destination confirmed are looked up and not sent again."""
    world = World()
    world.push(f"{SOURCE}/a", image("one", "two", "three"), "v1")
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
    scheduler = world.scheduler(rules, "killed")
    tasks = world.take_all(scheduler)
    while sum(world.uploads.values()) < 2:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)

    world.run(rules, "next")

    assert all(count == 1 for count in world.uploads.values())
    assert world.complete(f"{MIRROR}/a", "v1")


def test_force_pushes_again() -> None:
    """--force pushes existing manifests."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
    world.run(rules, "first")
    forced = World(force=True)
    forced.stores, forced.facts = world.stores, world.facts

    scheduler = forced.run(rules, "second")

    assert 1 == scheduler.figures.copied
    assert 1 == sum(isinstance(task, PushManifest) for task in forced.done)
    assert not forced.uploads


def test_filtered_index_with_digest_destination_fails() -> None:
    """A filter that changes an index fails an image whose destination is the old digest."""
    world = World(retries=0)
    world.filter = parse_filter([], ["amd64"])
    amd, arm = image("base", "amd"), image("base", "arm")
    whole = world.push(f"{SOURCE}/a", index((amd, "amd64"), (arm, "arm64")), "v1", children=[amd, arm])

    world.run([rule(f"{SOURCE}/a@{whole}", f"{MIRROR}/a")])

    assert ["DIGEST_CHANGED"] == [row.code for row in world.facts.rows.values()]
