"""A Sentinel that lies: it answers that another node is master, of a very high epoch, and publishes that too.

`python liar.py HOST PORT SERVICE LIED_HOST LIED_PORT`; a stand-in, since real Sentinels correct one another.
"""

from __future__ import annotations

import asyncio
import sys

import hiredis


def _bulks(*texts: str) -> bytes:
    parts = [b"*%d\r\n" % len(texts)]
    parts += [b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode()) for text in texts]
    return b"".join(parts)


async def lie(host: str, port: int, service: str, to: tuple[str, str]) -> None:
    """Serves until it is killed."""

    async def publish(writer: asyncio.StreamWriter) -> None:
        while True:
            for event in ("+odown", "+switch-master"):
                text = f"master {service} 0.0.0.0 1" if event == "+odown" else f"{service} 0.0.0.0 1 {' '.join(to)}"
                writer.write(_bulks("pmessage", "*", event, text))
            await writer.drain()
            await asyncio.sleep(0.5)

    def answer(command: list[str]) -> bytes:
        match [word.upper() for word in command[:2]]:
            case ["SENTINEL", "MASTER"]:
                return _bulks("name", service, "ip", to[0], "port", to[1], "flags", "master", "config-epoch", "999")
            case ["SENTINEL", "GET-MASTER-ADDR-BY-NAME"]:
                return _bulks(*to)
            case ["SENTINEL", "IS-MASTER-DOWN-BY-ADDR"]:
                return b"*3\r\n:1\r\n$1\r\n*\r\n:0\r\n"
            case ["PING", *_]:
                return b"+PONG\r\n"
            case ["PSUBSCRIBE", *_]:
                return b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n"
        return b"+OK\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader(encoding="utf-8")
        publishing: asyncio.Task[None] | None = None
        try:
            while data := await reader.read(65_536):
                commands.feed(data)
                while isinstance(command := commands.gets(), list):
                    words = [str(word) for word in command]
                    writer.write(answer(words))
                    if words[0].upper() == "PSUBSCRIBE":
                        publishing = asyncio.ensure_future(publish(writer))
        except ConnectionError:
            pass
        finally:
            if publishing is not None:
                publishing.cancel()
            writer.close()

    async with await asyncio.start_server(serve, host, port, reuse_address=True) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(lie(sys.argv[1], int(sys.argv[2]), sys.argv[3], (sys.argv[4], sys.argv[5])))
