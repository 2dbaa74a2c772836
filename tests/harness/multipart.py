"""Multipart bodies by hand, with the boundary ``XX``."""

from __future__ import annotations

MULTIPART = "multipart/form-data; boundary=XX"
KEY = "KCANARY-1"


def part(disposition: str, content: bytes = b"1", *, headers: str = "") -> bytes:
    head = f"--XX\r\nContent-Disposition: form-data; {disposition}\r\n{headers}\r\n"
    return head.encode() + content + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


KEY_PART = part('name="k"', KEY.encode())
A_PART = part('name="a"')
FILE_PART = part('name="k"; filename="k.txt"', b"KCANARY-in-a-file", headers="Content-Type: text/plain\r\n")
