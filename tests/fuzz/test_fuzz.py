"""A minute of fuzzing with fixed seeds; `python -m benchmarks.fuzz` does hours."""

import logging

import pytest

from benchmarks.fuzz import fuzz

COUNTS = {
    "preference": 40, "axis": 30, "lora": 8, "pairs": 25, "audit": 15, "report": 25, "answers": 60, "arguments": 60,
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTS)
def test_of_damaged_files_and_strange_arguments_only_sentences_come_out(kind, one_thread):
    logging.disable(logging.CRITICAL)
    try:
        result = fuzz(kind, COUNTS[kind], seed=7)
    finally:
        logging.disable(logging.NOTSET)
    # How long a case takes depends on the machine here; the benchmark counts it.
    assert not [found for found in result.found if found[0] not in ("slow", "memory")]
    assert 0 < result.refused < result.tried or kind == "lora"
