"""Files of raw rows: every format, with the line where each row begins, and what is said about damaged ones."""

from __future__ import annotations

import gzip
import json

import pytest

from collm.common.errors import DataError, RowError
from collm.domains.readers import read_rows


def write(folder, name, content):
    path = folder / "posts" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def origins(path):
    return {row.origin: row.fields for row in read_rows(path)}


def test_json_lines_count_blank_lines_and_take_a_byte_order_mark(tmp_path):
    path = write(tmp_path, "a.jsonl", '\ufeff{"x": "é\u2028"}\r\n\n{"x": 2}')
    assert origins(path) == {"posts/a.jsonl:1": {"x": "é\u2028"}, "posts/a.jsonl:3": {"x": 2}}


def test_gzipped_json_lines(tmp_path):
    path = write(tmp_path, "a.jsonl.gz", gzip.compress(b'{"x": 1}\n{"x": 2}\n'))
    assert origins(path) == {"posts/a.jsonl.gz:1": {"x": 1}, "posts/a.jsonl.gz:2": {"x": 2}}


def test_json_list_knows_where_items_begin(tmp_path):
    path = write(tmp_path, "a.json", '\n[\n  {"x": "[,"},\n\n  {\n   "x": [1,\n 2]},{"x": 3}]\n')
    assert origins(path) == {"posts/a.json:3": {"x": "[,"}, "posts/a.json:5": {"x": [1, 2]}, "posts/a.json:7": {"x": 3}}


def test_elements_on_one_line_are_told_by_number(tmp_path):
    path = write(tmp_path, "a.json", '[{"x": 1}, {"x": 2},\n{"x": 3}]')
    assert list(origins(path)) == ["posts/a.json:1, element 1", "posts/a.json:1, element 2", "posts/a.json:2"]


def test_one_json_object_is_one_row(tmp_path):
    assert origins(write(tmp_path, "a.json", '{"x": 1}')) == {"posts/a.json:1": {"x": 1}}


def test_csv_rows_may_span_lines_and_cells_may_be_long(tmp_path):
    long = "w" * 200_000
    path = write(tmp_path, "a.csv", f'string,difficulty\n"I",1\n"M\nC",2\n\n{long},3')
    assert origins(path) == {
        "posts/a.csv:2": {"string": "I", "difficulty": "1"},
        "posts/a.csv:3": {"string": "M\nC", "difficulty": "2"},
        "posts/a.csv:6": {"string": long, "difficulty": "3"},
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_empty_file_has_no_rows(tmp_path, name):
    assert read_rows(write(tmp_path, name, "")) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": \n', r"a\.jsonl:2: not a JSON object"),
        ("a.jsonl", '{"x": NaN}', r"a\.jsonl:1: .*NaN is no JSON number"),
        ("a.jsonl", '{"x": 1}\n[1, 2]', r"a\.jsonl:2: a row must be an object of named fields, not \[1, 2\]"),
        ("a.jsonl", b'{"x": 1}\n{"x": "\xff"}', r"a\.jsonl:2: not UTF-8"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: not a JSON object"),
        ("a.json", '[{"x": 1},\n{"x" 2}]', r"a\.json:2, element 2: not valid JSON"),
        ("a.json", '[{"x": 1}, {"x": 2}, {"x" 3}, {}]', r"a\.json:1, element 3: not valid JSON"),
        ("a.json", '[{"x": 1} {"x": 2}, {}]', r"a\.json:1, element 2: not valid JSON"),
        ("a.json", '[{"x": 1}, {"x": NaN}]', r"a\.json, element 2: not valid JSON \(NaN is no JSON number"),
        ("a.json", '[{"x": 1}, {"x": 2}, 7]', r"a\.json:1, element 3: a row must be an object"),
        ("a.json", '{"x" 1}', r"a\.json:1: not valid JSON"),
        ("a.json", '[{"x": 1},\n\n 7]', r"a\.json:3: a row must be an object"),
        ("a.csv", "a,b\n1,2\n3\n", r"a\.csv:3: 1 cells, the header names 2 fields"),
        ("a.csv", "a,a\n1,2\n", r"a\.csv:1: the header must name every field once, not 'a', 'a'"),
        ("a.csv", 'a,b\n1,"2', r"a\.csv:2: not valid CSV"),
    ],
)
def test_malformed_rows_name_file_and_line(tmp_path, name, content, message):
    with pytest.raises(RowError, match=message):
        read_rows(write(tmp_path, name, content))


def test_truncated_archive(tmp_path):
    content = gzip.compress(json.dumps({"x": "word " * 100}).encode())[:-12]
    with pytest.raises(DataError, match=r"a\.jsonl\.gz cannot be read"):
        read_rows(write(tmp_path, "a.jsonl.gz", content))


def test_missing_file_tells_what_is_there(tmp_path):
    write(tmp_path, "b.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"a\.csv is not there; the folder holds b\.csv"):
        read_rows(tmp_path / "posts" / "a.csv")
    with pytest.raises(DataError, match="does not exist either"):
        read_rows(tmp_path / "absent" / "a.csv")


def test_unknown_format(tmp_path):
    with pytest.raises(DataError, match=r"\.jsonl, \.jsonl\.gz, \.json, \.csv"):
        read_rows(write(tmp_path, "a.parquet", b""))
