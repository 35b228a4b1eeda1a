"""tests/mutate.py keeps up with the code, whose lines its named faults quote."""

from mutate import NAMED, named_faults


def test_each_named_fault_can_be_put_into_the_code():
    assert len(named_faults()) == len(NAMED)
