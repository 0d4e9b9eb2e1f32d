"""A web function for tests: an HTTP server on $PORT that tells what it was asked, and does what it is asked.

Standard library only, one process, any number of connections at once.
"""

SERVER = r'''
import asyncio, base64, hashlib, json, os, sys, urllib.parse

waiting = []
chat = set()
print("server", os.getpid(), "begins", flush=True)


async def head(reader):
    lines = []
    while True:
        line = (await reader.readline()).decode("latin-1")
        if not line:
            return None
        if line in ("\r\n", "\n"):
            break
        lines.append(line.rstrip("\r\n"))
    method, target, version = lines[0].split(" ", 2)
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    return method, target, version, headers


async def pieces(reader, headers):
    get = {name.lower(): value for name, value in headers}
    if get.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            if size == 0:
                while (line := await reader.readline()) not in (b"\r\n", b""):
                    yield ("trailer", line.decode().strip())
                return
            while size:
                piece = await reader.read(min(size, 65536))
                size -= len(piece)
                yield ("data", piece)
            await reader.readline()
    else:
        left = int(get.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                return
            left -= len(piece)
            yield ("data", piece)


def answer(writer, status, body, headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers = [("content-type", "application/json"), *headers]
    text = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(text.encode() + b"\r\n" + body)


async def frame(reader):
    first, second = await reader.readexactly(2)
    length = second & 127
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(length)
    return first & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def message(writer, text, kind=1):
    data = text.encode()
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    writer.write(bytes([0x80 | kind]) + size + data)


async def websocket(reader, writer, headers):
    key = dict((name.lower(), value) for name, value in headers)["sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write((text + f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
    chat.add(writer)
    try:
        while True:
            kind, data = await frame(reader)
            if kind == 8:
                message(writer, "", 8)
                return
            for one in chat:
                message(one, data.decode())
    except asyncio.IncompleteReadError:
        print("a chatter left", flush=True)
    finally:
        chat.discard(writer)
        writer.close()


async def one(reader, writer):
    asked_before = False
    while (asked := await head(reader)) is not None:
        method, target, version, headers = asked
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        route = url.path.rstrip("/").split("/")[-1]
        if route == "fickle":
            # It closes a connection just when that is used again.
            print("a fickle", method, flush=True)
            if asked_before:
                writer.close()
                return
            answer(writer, 200, {"fickle": "at last"})
            continue
        asked_before = True
        if route == "chat":
            await websocket(reader, writer, headers)
            return
        digest, size, trailers = hashlib.sha256(), 0, []
        if route == "duplex":
            writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
            async for kind, piece in pieces(reader, headers):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            continue
        async for kind, piece in pieces(reader, headers):
            if kind == "trailer":
                trailers.append(piece)
                continue
            digest.update(piece)
            size += len(piece)
        if route == "events" and method == "GET":
            writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                for number in range(int(query.get("n", 3))):
                    data = b"data: %d\n\n" % number
                    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                    await writer.drain()
                    await asyncio.sleep(float(query.get("every", 0.2)))
                writer.write(b"0\r\n\r\n")
            except ConnectionError:
                print("the listener left", flush=True)
                return
        elif route == "trailers":
            writer.write(b"HTTP/1.1 200 X\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
        elif route == "download":
            size = int(query["bytes"])
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % size)
            piece = bytes(range(256)) * 256
            while size:
                writer.write(piece[:size])
                await writer.drain()
                size -= min(size, len(piece))
        elif route == "upload":
            answer(writer, 200, {"bytes": size, "sha256": digest.hexdigest()})
        elif route == "together":
            # Answers when so many ask at once.
            mine = asyncio.get_running_loop().create_future()
            waiting.append(mine)
            if len(waiting) == int(query["n"]):
                for future in waiting:
                    future.set_result(None)
                waiting.clear()
            await mine
            answer(writer, 200, {"pid": os.getpid()})
        elif method == "POST" and target == "/events":
            answer(writer, 200, {"events": size})
        elif route == "sleep":
            await asyncio.sleep(float(query["s"]))
            answer(writer, 200, {"slept": True})
        elif route == "status":
            answer(writer, int(query["code"]), b"")
        elif route == "cookies":
            answer(writer, 200, b"x", [("set-cookie", "a=1"), ("set-cookie", "hearth_session=x"), ("x-hearth-fault", "mine")])
        elif route == "hangup":
            writer.close()
            return
        elif route == "garbage":
            writer.write(b"this is no HTTP\r\n\r\n")
        elif route == "crash":
            print("about to crash", file=sys.stderr, flush=True)
            os._exit(9)
        elif route == "begin-and-crash":
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nabc")
            await writer.drain()
            await asyncio.sleep(0.1)
            os._exit(9)
        else:
            environment = {name: os.environ.get(name) for name in ("PORT", "AWS_LAMBDA_HTTP_ENDPOINT", "_HANDLER")}
            answer(writer, 200, {"method": method, "target": target, "version": version, "headers": headers,
                                 "bytes": size, "trailers": trailers, "env": environment, "pid": os.getpid()})
        await writer.drain()
    writer.close()


async def main():
    await asyncio.sleep(float(os.environ.get("LATE", "0")))
    server = await asyncio.start_server(one, "127.0.0.1", int(os.environ.get("FIXED") or os.environ["PORT"]))
    async with server:
        await server.serve_forever()

asyncio.run(main())
'''
