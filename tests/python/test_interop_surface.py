"""`park.interop.surface`: what an adapter relies on, compared. And that adapters refuse another version."""

import sys
import types

import pytest
from park.interop import sglang, surface


def module(monkeypatch, name, **members):
    """A module of that name with these members, for one test."""
    made = types.ModuleType(name)
    for member, value in members.items():
        setattr(made, member, value)
    monkeypatch.setitem(sys.modules, name, made)


class Base:
    @property
    def size(self):
        return 0

    @classmethod
    def make(cls, *, page=1):
        return cls()

    def insert(self, key, value=None, *rest):
        return key, value, rest


def test_a_class_is_described_by_what_it_defines(monkeypatch):
    module(monkeypatch, "engine", Base=Base)
    assert surface.describe(["engine:Base", "engine:gone", "no_such_engine:Base2"]) == {
        "Base": "()",
        "Base.size": "a property",
        "Base.make": "a classmethod (cls, *, page=1)",
        "Base.insert": "(self, key, value=None, *rest)",
        "gone": "missing (module 'engine' has no attribute 'gone')",
        "Base2": "missing (No module named 'no_such_engine')",
    }


def test_differences_name_what_was_and_what_is():
    was = {"f": "(a)", "g": "(a)", "h": "()"}
    assert surface.differences(was, was) == []
    assert surface.differences(was, {"f": "(a, b)", "h": "()", "i": "()"}) == [
        "f is (a, b), and was (a)",
        "g is gone: it was (a)",
        "i is new: ()",
    ]


def test_another_sglang_is_refused_with_what_has_changed(monkeypatch):
    for name in ("sglang", "sglang.srt", "sglang.srt.mem_cache"):
        module(monkeypatch, name)
    module(monkeypatch, "sglang.version", __version__="9.9")
    module(monkeypatch, "sglang.srt.mem_cache.base_prefix_cache", BasePrefixCache=Base)
    sglang.check.cache_clear()
    with pytest.raises(sglang.SglangMismatchError) as raised:
        sglang.check()
    text = str(raised.value)
    assert f"tested with SGLang {sglang.TESTED_WITH}, this is 9.9" in text
    assert "BasePrefixCache.match_prefix is gone: it was abstract (self, params)" in text
    assert "BasePrefixCache.make is new" in text
    sglang.check.cache_clear()


def test_what_the_tree_does_not_do_is_refused_before_it_runs():
    needs = types.SimpleNamespace(is_hybrid_swa=True, is_hybrid_ssm=False, enable_hierarchical_cache=True)
    with pytest.raises(NotImplementedError, match="sliding-window layers, a host tier"):
        sglang.factory(needs)
