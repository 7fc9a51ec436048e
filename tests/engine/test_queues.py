from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.local.queues import AnswerWriter, Inbox, Outbox, TaskReader, Unframer, frame
from pipeline.engine.packing import MAX_MESSAGE
from pipeline.model.messages import (
    BytesTransferred,
    ManifestFetched,
    ManifestPushed,
    PushManifest,
    WorkerMessage,
)
from pipeline.model.reference import Reference, Repository
from pipeline.settings import MAX_MANIFEST
from tests.engine.runners import ask, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    Ends = tuple[IO[bytes], IO[bytes]]

messages = st.lists(
    st.builds(BytesTransferred, key=st.text(), sent=st.integers())
    | st.builds(ManifestFetched, key=st.text(), manifest=st.builds(manifest, st.integers(0, 5000)))
)


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a one-way pipe: reader, writer."""
    reader, writer = (
        os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
    )
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            end.close()


def big_put() -> PushManifest:
    """The largest task."""
    reference = Reference(Repository("registry.test", "a"), "latest")
    return PushManifest(destination=reference, media_type="m", digest="d", content=b"x" * MAX_MANIFEST)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """`stream` in pieces, cut at the given places."""
    places = [0, *sorted(place % (len(stream) + 1) for place in at), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


class TestFrames:
    @given(messages, st.lists(st.integers(0, 100_000)))
    def test_messages_survive_any_split(self, sent: list[Any], at: list[int]) -> None:
        """A stream gives the same messages in order, wherever it is cut."""
        unframer = Unframer()
        stream = b"".join(map(frame, sent))
        assert sent == [message for piece in cut(stream, at) for message in unframer.feed(piece)]

    @given(messages.filter(lambda sent: len(sent) < 12), st.lists(st.integers(0, 100_000), max_size=20))
    def test_outbox_survives_any_split(self, sent: list[Any], at: list[int]) -> None:
        """The outbox reads the same messages and then the end, wherever the writer cuts its stream."""
        reader, writer = os.pipe()
        outbox, heard = Outbox(reader), []
        for piece in cut(b"".join(map(frame, sent)), at):
            os.write(writer, piece)
            heard += outbox.read()
        os.close(writer)
        heard += outbox.read()
        outbox.close()
        assert (sent, True, "") == (heard, outbox.at_end, outbox.error)

    def test_oversized_message_is_not_sent(self) -> None:
        """A message above the bound is refused before anything is sent."""
        with pytest.raises(ValueError, match=f"the limit is {MAX_MESSAGE}"):
            frame(b"x" * MAX_MESSAGE)

    def test_oversized_announcement_is_refused(self) -> None:
        """A stream that announces a message above the bound is refused before it is read into memory."""
        with pytest.raises(ValueError, match="a message of 4294967295 bytes"):
            Unframer().feed(b"\xff\xff\xff\xff")


class TestOutbox:
    def test_empty_pipe_is_not_the_end(self, ends: Ends) -> None:
        """Reading an empty pipe returns at once, with nothing, and is not the end."""
        outbox = Outbox(ends[0].fileno())
        assert (outbox.read(), outbox.at_end) == ([], False)

    def test_half_message_stays_buffered(self, ends: Ends) -> None:
        """Half a message stays buffered until the other half arrives."""
        outbox, whole = Outbox(ends[0].fileno()), ManifestPushed(key="a")
        stream = frame(whole)
        os.write(ends[1].fileno(), stream[:9])
        first = outbox.read()
        os.write(ends[1].fileno(), stream[9:])
        assert ([], [whole]) == (first, outbox.read())

    def test_end_comes_last(self, ends: Ends) -> None:
        """What was written before the writer closed is read before the end; half a message is dropped."""
        outbox = Outbox(ends[0].fileno())
        os.write(ends[1].fileno(), frame(ManifestPushed(key="a")) + frame(ManifestPushed(key="b"))[:-1])
        ends[1].close()
        heard = [(outbox.read(), outbox.at_end) for _ in range(3)]
        assert [([ManifestPushed(key="a")], False), ([], True), ([], True)] == heard

    def test_invalid_stream_ends_the_queue(self, ends: Ends) -> None:
        """An invalid stream ends the queue with the reason, and the supervisor continues."""
        outbox = Outbox(ends[0].fileno())
        os.write(ends[1].fileno(), b"\0\0\0\x04oops")
        assert (outbox.read(), outbox.at_end) == ([], True)
        assert outbox.error.startswith("UnpicklingError: ")


class TestInbox:
    def test_full_pipe_keeps_tasks_in_memory(self, ends: Ends) -> None:
        """A task that does not fit into the pipe waits in memory, and is sent as the reader reads."""
        inbox, tasks = Inbox(ends[1].fileno()), TaskReader(ends[0].fileno())
        inbox.send(big_put())
        inbox.send(ask("echo"))
        waiting = inbox.pending
        heard: list[object] = []
        reading = threading.Thread(target=lambda: heard.extend(tasks.receive() for _ in range(2)))
        reading.start()
        while inbox.pending and select.select([], [inbox], [], 30.0)[1]:
            inbox.flush()
        reading.join(30.0)
        assert (True, [big_put(), ask("echo")], False) == (waiting, heard, inbox.pending)

    def test_dead_reader_raises_nothing(self, ends: Ends) -> None:
        """A dead reader raises nothing, and nothing waits for it."""
        inbox = Inbox(ends[1].fileno())
        inbox.send(big_put())
        ends[0].close()
        inbox.flush()
        inbox.send(ask("echo"))
        assert (inbox.broken, inbox.pending) == (True, False)

    def test_close_gives_the_reader_eof(self, ends: Ends) -> None:
        """Closing, even twice, gives the reader end-of-file."""
        inbox, tasks = Inbox(ends[1].fileno()), TaskReader(ends[0].fileno())
        inbox.send(ask("echo"))
        inbox.close()
        inbox.close()
        assert ask("echo") == tasks.receive()
        with pytest.raises(EOFError):
            tasks.receive()


class TestAnswerWriter:
    def test_answers_of_threads_arrive_complete(self, ends: Ends) -> None:
        """Answers of several threads arrive complete, each thread's in its order."""
        outbox, answers = Outbox(ends[0].fileno()), AnswerWriter(ends[1].fileno())

        def send(name: str) -> None:
            for number in range(20):
                answers.send(ManifestFetched(key=f"{name} {number}", manifest=manifest(100_000)))

        threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        heard: list[WorkerMessage] = []
        while len(heard) < 80 and select.select([outbox], [], [], 30.0)[0]:
            heard += outbox.read()
        for thread in threads:
            thread.join(30.0)
        keys = [answer.key for answer in heard if isinstance(answer, ManifestFetched)]
        assert {name: [f"{name} {number}" for number in range(20)] for name in "abcd"} == {
            name: [key for key in keys if key.startswith(name)] for name in "abcd"
        }

    def test_write_notices_dead_supervisor(self, ends: Ends) -> None:
        """A worker learns from a write that its supervisor is gone."""
        answers = AnswerWriter(ends[1].fileno())
        ends[0].close()
        with pytest.raises(BrokenPipeError):
            answers.send(ManifestPushed(key="a"))
