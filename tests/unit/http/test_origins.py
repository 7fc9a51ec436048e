from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http.origins import StrayError, origin_of, resolve, resolve_realm

BASE = "https://registry.example/v2/a/blobs/uploads/"


class TestResolve:
    @pytest.mark.parametrize(
        ("location", "url"),
        [
            ("/v2/a/1?x=%7E", "https://registry.example/v2/a/1?x=%7E"),
            ("1", "https://registry.example/v2/a/blobs/uploads/1"),
            ("https://other.example/x", "https://other.example/x"),
            ("http://registry.example:5000/x?y", "https://registry.example/x?y"),
            ("/v2/\xc3\xa4", "https://registry.example/v2/%C3%A4"),
        ],
    )
    def test_forms(self, location: str, url: str) -> None:
        """Locations of every form lead where they should, their escapes untouched."""
        assert url == resolve(BASE, location, insecure=False)

    @pytest.mark.parametrize("base", [BASE, BASE.replace("https", "http")])
    @pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
    def test_capitals(self, base: str, scheme: str) -> None:
        """A scheme in capitals is that scheme, whatever the registry's own is."""
        url = resolve(base, f"{scheme}://other.example/X?Y", insecure=True)

        assert url == f"{scheme.lower()}://other.example/X?Y"

    @pytest.mark.parametrize(
        "location",
        [
            "http://other.example/x",
            "null://h/x",
            "https://[::1/x",
            "https://a:b/",
            "https://169.254.169.254/x",
        ],
    )
    def test_refused(self, location: str) -> None:
        """What leaves https, is broken, or aims at a machine's metadata is refused."""
        with pytest.raises(StrayError):
            resolve(BASE, location, insecure=False)

    @given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
    def test_anything(self, location: str) -> None:
        """A location is an http URL or a StrayError, nothing else."""
        try:
            url = resolve(BASE, location, insecure=False)
        except StrayError:
            return
        assert url.isascii()
        assert origin_of(url)[0] == "https"


class TestRealms:
    def test_private(self) -> None:
        """A public registry may not send credentials to a private address."""
        with pytest.raises(StrayError, match="private address"):
            resolve_realm(BASE, "https://10.0.0.1/token", insecure=False)

    def test_private_registry(self) -> None:
        """A registry at a private address may."""
        assert (
            resolve_realm("https://10.0.0.2/v2/", "https://10.0.0.1/t", insecure=False)
            == "https://10.0.0.1/t"
        )


def test_origin() -> None:
    """The default port is part of an origin."""
    assert origin_of("https://a/x") == origin_of("https://A:443/y")
    assert origin_of("https://a") != origin_of("https://a:444")
