"""Talks over a WebSocket: text, binary, a message of many segments, pings, and the closing handshake."""

import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as connection:
        for message in ["hello", "\u00e4\u20ac" * 1000, b"\x00\xff" * 10, b"x" * 3_000_000]:
            await connection.send(message)
            assert await connection.recv() == message, "it came back otherwise"
        for _ in range(3):
            await asyncio.wait_for(await connection.ping(), 20)
        # Many at once, both ways.
        await asyncio.gather(*(connection.send(str(i)) for i in range(500)))
        assert [await connection.recv() for _ in range(500)] == [str(i) for i in range(500)]
    assert connection.close_code == 1000, connection.close_code
    print("ok")


asyncio.run(main())
