"""The mutants' old texts are those of the code, so that a nightly run finds them all."""

from mutants import MUTANTS, lost_mutants


def test_old_text_of_every_mutant_occurs_exactly_once():
    assert len(MUTANTS) >= 60 and not lost_mutants()
