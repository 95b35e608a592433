"""Forms (multipart/form-data) that arrive piece by piece and are never laid down by the parser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from facemake.server.refusal import RefusedError

Sink = Callable[[bytes], None]
"""Where the data of a part go, piece by piece; may refuse them."""


class Form(ABC):
    """The parts of a form, as the parser calls them out.

    Args:
        most_parts: more are refused.
    """

    def __init__(self, most_parts: int) -> None:
        self._most_parts = most_parts
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._sink: Sink | None = None
        self._parts = 0
        self.whole = False

    @abstractmethod
    def part(self, name: str, file_name: str | None) -> Sink:
        """A part begins.

        Args:
            name: of the field.
            file_name: None where it is no file.

        Raises:
            RefusedError: there is no such field, or not once more.
        """

    def on_part_begin(self) -> None:
        """Called by the parser."""
        self._parts += 1
        if self._parts > self._most_parts:
            raise RefusedError(422, f"a form here has at most {self._most_parts} fields")
        self._headers = {}

    def on_header_begin(self) -> None:
        """Called by the parser."""
        self._header = (bytearray(), bytearray())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """Called by the parser."""
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """Called by the parser."""
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        """Called by the parser."""
        self._headers[bytes(self._header[0]).lower()] = bytes(self._header[1])

    def on_headers_finished(self) -> None:
        """Called by the parser."""
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        file_name = options.get(b"filename")
        given = None if file_name is None else file_name.decode("utf-8", "replace")
        self._sink = self.part(name, given)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Called by the parser."""
        if self._sink is not None:
            self._sink(data[start:end])

    def on_end(self) -> None:
        """Called by the parser."""
        self.whole = True


async def read_form(
    form: Form, content_type: str | None, pieces: AsyncIterator[bytes]
) -> AsyncIterator[int]:
    """Take a form from the wire.

    Args:
        form: told of its parts.
        content_type: of the request.
        pieces: of its body.

    Yields:
        The bytes of each piece, when its parts have been told.

    Raises:
        RefusedError: it is no form, damaged, or cut off.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise RefusedError(422, "send a form of the type multipart/form-data")
    calls = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, calls)  # type: ignore[arg-type]
        async for piece in pieces:
            parser.write(piece)
            yield len(piece)
        parser.finalize()
    except FormParserError as error:
        raise RefusedError(400, f"the form cannot be read: {error}") from None
    except ClientDisconnect:
        raise RefusedError(400, "the upload was cut off") from None
    if not form.whole:
        raise RefusedError(400, "the form is cut off")
