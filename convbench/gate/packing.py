"""Bytes as short text of JSON."""

import base64
import zlib


def pack(raw: bytes) -> str:
    """`raw`, compressed, in base 85: none of its signs needs an escape in JSON."""
    return base64.b85encode(zlib.compress(raw, 9)).decode()


def unpack(text: str, size: int) -> bytes:
    """The `size` bytes that `text` stands for; never more, since a few damaged bytes can stand for gigabytes.

    Raises:
        ValueError: the text is damaged, or stands for more or fewer bytes.
    """
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(base64.b85decode(text), size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes where {size} should be")
    return raw
