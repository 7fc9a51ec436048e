"""A terminal in memory: rows of text, a cursor, and the few sequences that the display uses."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"\x1b\[(?P<arguments>[0-9;]*)(?P<verb>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)"
)


class Screen:
    """Shows what was written; rows that scroll off the top are kept, like a terminal's history."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0

    def write(self, data: bytes) -> None:
        """Process bytes; an unknown sequence is an error."""
        text = data.decode()
        assert "".join(found[0] for found in _TOKEN.finditer(text)) == text, repr(text)
        for found in _TOKEN.finditer(text):
            if found["text"] is not None:
                self._put(found["text"])
            elif found["control"] == "\r":
                self.column = 0
            elif found["control"] == "\n":
                self._down()
            else:
                self._do(found["verb"], found["arguments"])

    def _put(self, text: str) -> None:
        for character in text:
            if self.column == self.columns:
                self._down()
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
            self.column += 1

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")

    def _do(self, verb: str, arguments: str) -> None:
        match verb:
            case "A":
                self.row -= int(arguments)
                assert self.row >= 0
            case "J":
                self.rows[self.row :] = [self.rows[self.row][: self.column]]
            case "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "m":
                pass
            case _:
                raise AssertionError(f"the display writes {verb}")

    @property
    def text(self) -> list[str]:
        """The rows, without blanks at their ends and without empty rows at the end."""
        rows = [row.rstrip() for row in self.rows]
        while rows and not rows[-1]:
            rows.pop()
        return rows
