"""A WebSocket server: says everything back, and answers plain requests as a health check expects."""

import asyncio
import http
import sys

import websockets


async def echo(connection, _path=None):
    async for message in connection:
        await connection.send(message)


async def plain(path, headers):
    if headers.get("Upgrade", "").lower() != "websocket":
        return http.HTTPStatus.OK, [], b"plain\n"
    return None


async def main():
    host, port = sys.argv[1], int(sys.argv[2])
    async with websockets.serve(echo, host, port, process_request=plain, max_size=None):
        await asyncio.Future()


asyncio.run(main())
