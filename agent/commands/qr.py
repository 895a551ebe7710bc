"""A QR code in a terminal: two modules a character, black on white whatever the terminal's colours.

The symbol is ISO/IEC 18004 as segno makes it, with the quiet zone of four modules.
"""

import segno

QUIET_MODULES = 4

_BLACK_ON_WHITE, _AS_BEFORE = "\x1b[30;107m", "\x1b[0m"
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}  # upper, lower; 1 is dark


def qr_lines(text: str, *, is_coloured: bool) -> list[str]:
    """The symbol line by line. Without colours it is dark where the terminal's text is."""
    symbol = segno.make_qr(text, error="m")
    rows = [list(row) for row in symbol.matrix_iter(border=QUIET_MODULES)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        halves = zip(upper, lower, strict=True)
        line = "".join(_HALVES[bool(above), bool(below)] for above, below in halves)
        lines.append(f"{_BLACK_ON_WHITE}{line}{_AS_BEFORE}" if is_coloured else line)
    return lines
