import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.broker import MqttError
from agent.core.note import parse_checkpoint, parse_note
from agent.mqtt import Connection
from agent.records import JournalError, NewRecord, parse_record
from agent.uplink import Pace

TOPIC = "kwota/v1/farm-1/edge-1"


@contextmanager
def only_lost_connections() -> Iterator[None]:
    """A broker that is stopped takes the small pool with it."""
    try:
        yield
    except* Exception as errors:
        if errors.split(lambda error: "lost" in str(error) or isinstance(error, ExceptionGroup))[1]:
            raise


def meter(power_mw: int = 1, text: str = "") -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": power_mw, "text": text})


async def test_everything_reaches_the_pool_and_the_receipts_come_back(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        publisher = rig.publisher_of(journal, broker.port)
        for number in range(50):
            await journal.append([meter(number)])
        async with rig.delivering(publisher):
            await rig.until(lambda: journal.cosigned_size >= 51)
            delivery = publisher.delivery
            assert (delivery.broker, delivery.faults) == ("connected", ())
            assert delivery.last_receipt_ms is not None
            assert "The pool has everything" in delivery.words
            await rig.until(lambda: len(pool.records) > 51)  # the ack of the first receipt
        stored = await journal.read(0, 100_000_000)
        assert stored[: len(pool.records)] == pool.records
        ack = parse_record((await journal.tail(1, "ack"))[0]).data
        assert ack["pool_time_s"] > 1_795_000_000
        assert parse_checkpoint(parse_note(ack["note"]).text).size == ack["size"]
        await rig.until(lambda: pool.state == ["online", "offline"])


async def test_batches_hold_64_kib_and_go_on_after_the_last_receipt(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker:
        async with rig.journal() as journal:
            for _ in range(4):
                await journal.append([meter(1, "x" * 10_000) for _ in range(60)])
            async with (
                rig.pool_on(broker.port, pool),
                rig.delivering(rig.publisher_of(journal, broker.port)),
            ):
                await rig.until(lambda: journal.cosigned_size >= 241)
            assert 60_000 < pool.longest <= 65_536
            sent_before = len(pool.messages)
        async with rig.journal() as journal:
            async with (
                rig.pool_on(broker.port, pool),
                rig.delivering(rig.publisher_of(journal, broker.port)),
            ):
                await rig.until(lambda: len(pool.messages) > sent_before)
            assert pool.messages[sent_before][0] >= 241


async def test_acks_alone_wait_so_that_they_do_not_call_forth_acks(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with (
        mosquitto() as broker,
        rig.journal() as journal,
        rig.pool_on(broker.port, pool),
        rig.delivering(rig.publisher_of(journal, broker.port)),
    ):
        await rig.until(lambda: journal.cosigned_size == 1)
        await asyncio.sleep(0.2)
        assert len(pool.messages) == 1
        await rig.until(lambda: len(pool.messages) == 2, 1.0)


async def test_the_pool_may_be_away_and_come_back(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal:
        publisher = rig.publisher_of(journal, broker.port)
        async with rig.delivering(publisher):
            await rig.until(lambda: bool(publisher.delivery.faults))
            assert publisher.delivery.faults[0].code == "POOL_NOT_SUBSCRIBED"
            assert await rig.alarms(journal) == ["POOL_NOT_SUBSCRIBED"]
            async with rig.pool_on(broker.port, pool):
                await rig.until(lambda: journal.cosigned_size > 1)
                assert publisher.delivery.faults == ()


async def test_a_pool_without_receipts_gets_everything_again(mosquitto, rig) -> None:
    pool = rig.small_pool(is_mute=True)
    async with (
        mosquitto() as broker,
        rig.journal() as journal,
        rig.pool_on(broker.port, pool),
        rig.delivering(rig.publisher_of(journal, broker.port)),
    ):
        await rig.until(lambda: pool.messages.count((0, 1)) + len(pool.messages) >= 3)
        assert journal.cosigned_size == 0
        assert "NO_RECEIPT" in await rig.alarms(journal)
        assert [start for start, _ in pool.messages].count(0) >= 2
        pool.is_mute = False
        await rig.until(lambda: journal.cosigned_size > 1)


async def test_no_more_than_a_window_is_sent_ahead_of_the_receipts(mosquitto, rig) -> None:
    pool = rig.small_pool(is_mute=True)
    pace = Pace(interval_s=0.0, window=3, batch_bytes=10_000, receipt_s=60.0)
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        for _ in range(20):
            await journal.append([meter(1, "x" * 5_000)])
        publisher = rig.publisher_of(journal, broker.port, pace=pace)
        async with rig.delivering(publisher):
            await rig.until(lambda: len(pool.messages) == 3)
            await asyncio.sleep(0.3)
            assert len(pool.messages) == 3


async def test_a_commit_longer_than_the_window_gets_its_receipt(mosquitto, rig) -> None:
    pool = rig.small_pool()
    pace = Pace(interval_s=0.0, window=3, batch_bytes=10_000, receipt_s=60.0)
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        await journal.append([meter(1, "x" * 5_000) for _ in range(30)])
        publisher = rig.publisher_of(journal, broker.port, pace=pace)
        async with rig.delivering(publisher):
            await rig.until(lambda: journal.cosigned_size >= 31)


async def test_a_message_ends_where_a_commit_ends(mosquitto, rig) -> None:
    pool = rig.small_pool()
    pace = Pace(interval_s=0.0, window=3, batch_bytes=40_000, receipt_s=60.0)
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        ends = {1}
        for size in (2, 3, 7, 1, 11, 5, 2, 13, 1, 1, 1, 9):
            written = await journal.append([meter(1, "x" * 5_000) for _ in range(size)])
            ends.add(written.stop)
        total = journal.size
        publisher = rig.publisher_of(journal, broker.port, pace=pace)
        async with rig.delivering(publisher):
            await rig.until(lambda: journal.cosigned_size >= total)
        for start, to in pool.messages:
            crossed = {end for end in ends if start < end < to}
            assert to in ends or to > total or not crossed


async def test_the_broker_may_die_at_any_time(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal:
        publisher = rig.publisher_of(journal, broker.port)
        async with rig.delivering(publisher):
            for _ in range(3):
                with only_lost_connections():
                    async with rig.pool_on(broker.port, pool):
                        target = journal.size
                        await journal.append([meter(n, "x" * 1000) for n in range(300)])
                        await rig.until(lambda target=target: len(pool.records) > target + 50)
                        await broker.stop()
                        await rig.until(lambda: publisher.delivery.broker != "connected")
                await broker.start()
            async with rig.pool_on(broker.port, pool):
                await rig.until(lambda: journal.cosigned_size > 900)
        stored = await journal.read(0, 100_000_000)
        assert stored[: len(pool.records)] == pool.records


async def test_the_second_broker_takes_over(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with (
        mosquitto() as broker,
        rig.journal() as journal,
        rig.pool_on(broker.port, pool),
        rig.delivering(rig.publisher_of(journal, 1, broker.port)),
    ):
        await rig.until(lambda: journal.cosigned_size >= 1)


async def test_evidence_that_the_broker_forbids_is_an_alarm_and_nothing_is_skipped(
    mosquitto, rig, tmp_path: Path
) -> None:
    access = tmp_path / "acl"
    access.write_text(f"topic readwrite {TOPIC}/receipt\ntopic readwrite {TOPIC}/state\n")
    pool = rig.small_pool()
    lines = ("allow_anonymous true", f"acl_file {access}")
    async with mosquitto(*lines) as broker, rig.journal() as journal:
        publisher = rig.publisher_of(journal, broker.port)
        async with rig.delivering(publisher):
            await rig.until(lambda: bool(publisher.delivery.faults))
            (fault,) = publisher.delivery.faults
            assert (fault.code, fault.severity) == ("BROKER_REFUSED_87", "critical")
            await asyncio.sleep(0.5)
            assert await rig.alarms(journal) == ["BROKER_REFUSED_87"]
            access.write_text(f"topic readwrite {TOPIC}/#\n")
            await broker.stop()
            await broker.start()
            async with rig.pool_on(broker.port, pool):
                await rig.until(lambda: journal.cosigned_size >= 1)
                assert pool.messages[0][0] == 0


async def test_the_live_image_is_sent_beside_the_evidence(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        publisher = rig.publisher_of(journal, broker.port)
        publisher.set_live(b"old")
        publisher.set_live(b"new")
        async with rig.delivering(publisher):
            await rig.until(lambda: pool.live == [b"new"])
            publisher.set_live(b"newer")
            await rig.until(lambda: pool.live == [b"new", b"newer"])


async def test_a_broker_of_the_older_protocol_serves_as_well(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with (
        mosquitto() as broker,
        rig.journal() as journal,
        rig.pool_on(broker.port, pool),
        rig.delivering(rig.publisher_of(journal, broker.port, version="3.1.1")),
    ):
        await rig.until(lambda: journal.cosigned_size >= 1)


async def test_a_broker_that_drops_us_over_evidence_again_and_again_is_an_alarm(
    mosquitto, rig
) -> None:
    """A proxy that cuts the connection when a long packet passes."""
    async with mosquitto() as broker, rig.journal() as journal:
        await journal.append([meter(1, "x" * 20_000)])

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", broker.port)

            async def upwards() -> None:
                while 0 < len(chunk := await reader.read(65_536)) < 5_000:
                    up_writer.write(chunk)
                up_writer.close()
                writer.close()

            async def downwards() -> None:
                while chunk := await up_reader.read(65_536):
                    writer.write(chunk)

            await asyncio.gather(upwards(), downwards(), return_exceptions=True)
            up_writer.close()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        publisher = rig.publisher_of(journal, server.sockets[0].getsockname()[1])
        async with server, rig.delivering(publisher):
            await rig.until(
                lambda: any(f.code == "DELIVERY_STUCK" for f in publisher.delivery.faults)
            )
            assert journal.cosigned_size == 0


async def test_a_failed_journal_ends_the_delivery(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        publisher = rig.publisher_of(journal, broker.port)

        async def fail_soon() -> None:
            await rig.until(lambda: journal.cosigned_size >= 1)
            journal._fail(JournalError("The disk is gone."))
            await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(5), rig.delivering(publisher), rig.running(fail_soon()):
                await asyncio.Event().wait()
        assert caught.group_contains(JournalError, match="disk is gone")


async def test_without_brokers_delivery_is_off(rig) -> None:
    async with rig.journal() as journal:
        publisher = rig.publisher_of(journal)
        async with asyncio.TaskGroup() as group:
            await publisher.run(group)
        assert publisher.delivery.broker == "off"


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_in_the_moment_of_a_loss_is_not_forgotten(
    mosquitto, rig, monkeypatch, turns: int
) -> None:
    """The cancellation arrives so many turns of the loop after the connection has broken."""
    end = Connection._end
    async with mosquitto() as broker, rig.journal() as journal:
        publisher = rig.publisher_of(journal, broker.port)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            delivery = group.create_task(publisher.run(group))

            def cancel_after(left: int) -> None:
                if left:
                    asyncio.get_running_loop().call_soon(cancel_after, left - 1)
                else:
                    delivery.cancel()

            def end_and_stop(connection: Connection, error: MqttError) -> None:
                is_news = connection._error is None
                end(connection, error)
                if is_news:
                    cancel_after(turns)

            await rig.until(lambda: publisher.delivery.broker == "connected")
            monkeypatch.setattr(Connection, "_end", end_and_stop)
            assert broker.process is not None
            broker.process.kill()
        assert delivery.cancelled()
