"""Runs test modules of Python's own and prints what became of each test, sorted and without times.

    python3 unittests.py MODULE...      for instance test_dict
"""
import sys
import unittest

from test import support


class Outcomes(unittest.TestResult):
    """A line for each test; those that failed have their story on standard error."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def note(self, test, outcome):
        self.lines.append(f"{test.id()}: {outcome}")

    def addSuccess(self, test):
        self.note(test, "ok")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, f"skipped, {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "FAILED")

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "ERROR")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "FAILED in a part")


def main():
    support.verbose = False
    names = [f"test.{name}" for name in sys.argv[1:]]
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(outcomes)
    print("\n".join(sorted(outcomes.lines)))
    print(f"{outcomes.testsRun} tests")
    for test, story in outcomes.failures + outcomes.errors:
        print(test.id(), story, file=sys.stderr)
    return 0 if outcomes.testsRun and outcomes.wasSuccessful() else 1


sys.exit(main())
