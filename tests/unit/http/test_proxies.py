"""The proxy for each URL, taken from the environment."""

from __future__ import annotations

import os

import pytest

from pipeline.http.proxies import find_proxy

PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with one proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)


@pytest.mark.parametrize(
    ("entries", "spared", "proxied"),
    [
        ("*", ["a.test", "10.0.0.1"], []),
        ("*.corp.test", ["a.corp.test", "a.b.corp.test"], ["corp.test", "acorp.test"]),
        (".corp.test", ["a.corp.test"], ["corp.test", "acorp.test"]),
        ("corp.test", ["corp.test", "a.corp.test", "CORP.test"], ["acorp.test", "corp.test.evil.test"]),
        (" b.test , Corp.Test ", ["b.test", "corp.test"], ["a.test"]),
        ("corp.test:5000", ["corp.test:5000", "a.corp.test:5000"], ["corp.test", "corp.test:5001"]),
        ("corp.test:443", ["corp.test", "corp.test:443"], ["corp.test:5000"]),
        ("10.0.0.1", ["10.0.0.1", "10.0.0.1:5000", "[::ffff:10.0.0.1]"], ["10.0.0.10", "110.0.0.1"]),
        ("10.0.0.1:5000", ["10.0.0.1:5000"], ["10.0.0.1"]),
        ("10.0.0.0/8", ["10.200.0.1", "10.0.0.1:5000"], ["11.0.0.1", "a10.test"]),
        ("fd00::/8", ["[fd12::1]", "[fd12::1]:5000"], ["[fe00::1]", "10.0.0.1"]),
        ("fd12::1", ["[fd12::1]", "[fd12:0::1]:5000"], ["[fd12::2]"]),
        ("[fd12::1]:5000", ["[fd12::1]:5000"], ["[fd12::1]"]),
        ("", [], ["a.test"]),
        (",, ,:80,/,10.0.0.0/99,*.", [], ["a.test", "10.0.0.1", "a.test:80"]),
    ],
)
def test_no_proxy_is_parsed_as_in_go(
    monkeypatch: pytest.MonkeyPatch, entries: str, spared: list[str], proxied: list[str]
) -> None:
    """NO_PROXY is parsed as in Go."""
    monkeypatch.setenv("NO_PROXY", entries)

    assert [host for host in (*spared, *proxied) if find_proxy(f"https://{host}/v2/") == PROXY] == proxied


@pytest.mark.parametrize(
    "host", ["localhost:5000", "x.localhost", "127.0.0.1", "127.8.8.8:5000", "[::1]:5000"]
)
def test_this_machine_is_never_proxied(host: str) -> None:
    """Requests to this machine never use a proxy."""
    assert not find_proxy(f"https://{host}/v2/")


def test_proxy_by_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scheme has its own proxy, and ALL_PROXY is for the others; upper-case names have priority."""
    monkeypatch.setenv("https_proxy", "http://small.test:1")
    assert find_proxy("https://a.test/") == PROXY
    assert not find_proxy("http://a.test/")

    monkeypatch.setenv("ALL_PROXY", "socks5h://all.test:2")
    assert find_proxy("http://a.test/") == "socks5h://all.test:2"
    monkeypatch.setenv("HTTPS_PROXY", "")
    assert find_proxy("https://a.test/") == "http://small.test:1"


def test_proxy_without_scheme_uses_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy without a scheme is used over plain HTTP."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    assert find_proxy("https://a.test/") == PROXY
