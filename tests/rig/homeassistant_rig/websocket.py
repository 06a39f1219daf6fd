"""A WebSocket client (RFC 6455) with just what Home Assistant's API needs: text messages, one at a time."""

import base64
import json
import os
import socket
import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class WebSocket:
    """An authenticated connection to /api/websocket; `call` sends a command and returns its result."""

    def __init__(self, port, token, timeout=60):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        self._last_id = 0
        self._handshake(port)
        self._expect("auth_required")
        self._send_json({"type": "auth", "access_token": token})
        self._expect("auth_ok")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._socket.close()

    def call(self, command, **arguments):
        self._last_id += 1
        self._send_json({"id": self._last_id, "type": command, **arguments})
        while True:
            answer = self._receive_json()
            if answer.get("id") == self._last_id and answer["type"] == "result":
                break
        if not answer["success"]:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    def _handshake(self, port):
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            (
                f"GET /api/websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode()
        )
        status = self._stream.readline()
        if b" 101 " not in status:
            raise RuntimeError(f"no WebSocket: {status!r}")
        while self._stream.readline().strip():
            pass

    def _expect(self, kind):
        message = self._receive_json()
        if message["type"] != kind:
            raise RuntimeError(f"expected {kind}, got {message}")

    def _send_json(self, message):
        self._send(TEXT, json.dumps(message).encode())

    def _receive_json(self):
        return json.loads(self._receive())

    def _send(self, opcode, payload):
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(head + mask + masked)

    def _receive(self):
        """One whole message; pings are answered on the way."""
        message = b""
        while True:
            first, second = self._read(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._read(8))
            payload, opcode = self._read(size), first & 0x0F
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                raise ConnectionError("Home Assistant closed the WebSocket")
            elif opcode != PONG:
                message += payload
                if first & 0x80:
                    return message

    def _read(self, size):
        data = self._stream.read(size)
        if len(data) != size:
            raise ConnectionError("the WebSocket ended")
        return data
