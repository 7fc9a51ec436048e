from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.http.origins import RefusedURLError, origin_of, resolve, resolve_realm

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
    def test_forms_of_locations(self, location: str, url: str) -> None:
        """Locations of every form are resolved correctly, with their escapes unchanged."""
        assert url == resolve(BASE, location, insecure=False)

    @pytest.mark.parametrize("base", [BASE, BASE.replace("https", "http")])
    @pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
    def test_upper_case_scheme(self, base: str, scheme: str) -> None:
        """An upper-case scheme means the same as a lower-case one, whatever the registry's own is."""
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
    def test_unsafe_url_is_refused(self, location: str) -> None:
        """URLs that leave https, are malformed, or point to a machine's metadata are refused."""
        with pytest.raises(RefusedURLError):
            resolve(BASE, location, insecure=False)

    @given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
    def test_any_location_is_resolved_or_refused(self, location: str) -> None:
        """A location gives either an http URL or a RefusedURLError."""
        try:
            url = resolve(BASE, location, insecure=False)
        except RefusedURLError:
            return
        assert url.isascii()
        assert origin_of(url)[0] == "https"


class TestRealms:
    def test_public_registry_with_private_realm_is_refused(self) -> None:
        """A public registry may not send credentials to a private address."""
        with pytest.raises(RefusedURLError, match="private address"):
            resolve_realm(BASE, "https://10.0.0.1/token", insecure=False)

    def test_private_registry_with_private_realm_is_accepted(self) -> None:
        """A registry at a private address may."""
        assert (
            resolve_realm("https://10.0.0.2/v2/", "https://10.0.0.1/t", insecure=False)
            == "https://10.0.0.1/t"
        )

    @pytest.mark.parametrize("allowed", ["10.0.0.1", "10.0.0.1:443"])
    def test_realm_allowed_by_the_user(self, allowed: str) -> None:
        """It may if the user has named the token server in the settings, by host or by host and port."""
        realm = "https://10.0.0.1/token"
        assert resolve_realm(BASE, realm, insecure=False, allowed=["a.test", allowed]) == realm

    def test_realm_allowed_at_another_port_is_refused(self) -> None:
        """A token server that is allowed at one port is refused at another; the error shows the setting."""
        with pytest.raises(RefusedURLError) as caught:
            resolve_realm(BASE, "https://10.0.0.1:8443/token", insecure=False, allowed=["10.0.0.1:443"])

        assert '"realm": ["10.0.0.1:8443"]' in caught.value.hint

    @pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "metadata.google.internal"])
    def test_this_machine_is_never_a_realm(self, host: str) -> None:
        """This machine and its cloud's metadata service are never token servers, even if allowed."""
        with pytest.raises(RefusedURLError):
            resolve_realm(BASE, f"https://{host}/token", insecure=True, allowed=[host])

    def test_plain_registry_with_another_plain_host_is_refused(self) -> None:
        """A registry on this machine that speaks plain HTTP sends no login to another host that does."""
        with pytest.raises(RefusedURLError, match="without TLS"):
            resolve_realm("http://localhost:5000/v2/", "http://a.test/token", insecure=False)


class TestOtherPort:
    """http on an https registry's own host."""

    STORAGE = "http://registry.test:9000/bucket/x?sig=1"

    def test_redirect_to_another_port_is_followed(self) -> None:
        """A redirect to another port is followed if plain HTTP is allowed."""
        base = "https://registry.test/v2/"
        assert resolve(base, self.STORAGE, insecure=True, redirect=True) == self.STORAGE
        with pytest.raises(RefusedURLError, match="a plain HTTP URL"):
            resolve(base, self.STORAGE, insecure=False, redirect=True)

    @pytest.mark.parametrize("port", ["", ":80", ":5000"])
    @pytest.mark.parametrize("redirect", [True, False])
    def test_same_port_keeps_the_registrys_origin(self, port: str, redirect: bool) -> None:  # noqa: FBT001 - a parameter
        """With the same port or none, a proxy's mistake is assumed, and the registry's own origin is kept."""
        base = "https://registry.test:5000/v2/"
        url = resolve(base, f"http://registry.test{port}/x", insecure=True, redirect=redirect)
        assert url == "https://registry.test:5000/x"

    def test_upload_location_keeps_the_registrys_origin(self) -> None:
        """An upload's Location always keeps the registry's own origin."""
        url = resolve("https://registry.test/v2/", self.STORAGE, insecure=True)
        assert url.startswith("https://registry.test/bucket/")


def test_origin_includes_the_default_port() -> None:
    """The default port is part of an origin."""
    assert origin_of("https://a/x") == origin_of("https://A:443/y")
    assert origin_of("https://a") != origin_of("https://a:444")
