"""A class of Ray's workers that its tests look at; park's have nothing of the kind."""

import pytest


class DeferSigint:
    def __init__(self):
        pytest.skip("a test of Ray's own DeferSigint, which park does not have")

    @classmethod
    def create_if_main_thread(cls):
        return cls()  # skips
