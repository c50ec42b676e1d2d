"""The reader of CSV files, for `task csv` and for `compare`.

It follows Python's csv module: commas separate fields, and quotes surround a field that contains a
comma, a line break or a quote (written twice). The encoding is UTF-8, with or without a byte order
mark. All rows have as many fields as the header.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ..errors import FairsweepError

# Rows are kept in memory. 16,384 is the number of columns of a spreadsheet.
MOST_CELLS, MOST_COLUMNS = 20_000_000, 16_384
_FEWER = "Take fewer rows, or leave out columns that are not needed."


def records(path: Path, largest: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and each row, with the number of the line on which it begins (from 1).

    Blank lines are skipped, and in a file of several columns also lines of spaces alone.

    Args:
        path: an existing file.
        largest: the largest permitted size, bytes.

    Raises:
        FairsweepError: the file is too large, not UTF-8 or contains a NUL byte; a quote is not
            closed; a row has too many or too few fields. The message names the file and the line.
    """
    if (size := path.stat().st_size) > largest:
        raise FairsweepError(
            f"{path} has {size:,} bytes, and at most {largest:,} are read. {_FEWER}"
        )
    width = cells = blank = 0
    line = following = 1
    # The default limit of the csv module, 131,072 characters per field, is too low for texts.
    limit = csv.field_size_limit(max(size, 1))
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(_lines(path, file), strict=True)
            for record in reader:
                line, following = following, reader.line_num + 1
                if not record or (width != 1 and len(record) == 1 and not record[0].strip()):
                    blank = line if width else 0
                    continue
                width, cells = width or len(record), cells + len(record)
                if fault := _fault(record, width, cells, blank):
                    raise FairsweepError(
                        f"{path}, line {blank if blank and width == 1 else line}: {fault}"
                    )
                yield line, record
    except csv.Error as error:
        raise FairsweepError(
            f"{path}, line {following}: not valid CSV ({error}). Separate fields by commas, close "
            "each quote, and write a quote within quotes twice."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        # These code points stand for bytes that are not UTF-8 (errors="surrogateescape").
        if not line.isascii() and re.search("[\udc80-\udcff]", line):
            fault = "not UTF-8. Save the file as CSV in UTF-8."
        elif "\0" in line:
            fault = "a NUL byte. Save the file as CSV in UTF-8, or get another copy."
        else:
            yield line
            continue
        raise FairsweepError(f"{path}, line {number}: {fault}")


def _fault(record: list[str], width: int, cells: int, blank: int) -> str | None:
    if len(record) > MOST_COLUMNS:
        return f"{len(record):,} columns, and at most {MOST_COLUMNS:,} are read. {_FEWER}"
    if len(record) != width:
        fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
        return f"{fields}, and the header has {width}. Put a field with a comma in quotes."
    if width == 1 and blank:
        return 'blank, in a file of one column. Write "" for an empty cell, or delete the line.'
    if cells > MOST_CELLS:
        return f"more than {MOST_CELLS:,} cells in the file. {_FEWER}"
    return None
