"""Parse one source and one destination of a rule.

A source is `repository`, `repository:tag`, `repository:a,b`, `repository@digest` or `repository:/REGEX/`; a
destination is the same without a regular expression, and may be empty. A lenient parser could copy the wrong
image silently, so everything that is not understood is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.pattern_rules import pattern_source
from pipeline.config.variables import expanded_pieces
from pipeline.dataclass import dataclass
from pipeline.errors import RuleError, UsageError
from pipeline.model.patterns import compile_pattern
from pipeline.model.reference import Repository, canonical_registry, is_digest, is_tag, parse_repository
from pipeline.model.repository_pattern import is_repository_pattern
from pipeline.model.selection import AllTags, Matching, Named, Target, read_name
from pipeline.model.template import REST, TAG, fill
from pipeline.model.units import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.selection import Selection

_SCHEMES = ("https://", "http://", "docker://", "oci://")
_FOLDER = "ocidir://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The destination of rules without one; both fields are needed."""

    registry: str
    namespace: str


def make_defaults(registry: str, namespace: str) -> Defaults:
    """Check the default registry and namespace; either may be empty.

    Raises:
        UsageError: together they are not a valid repository.
    """
    namespace = namespace.strip("/")
    if registry and namespace:
        try:
            sample = parse_repository(f"{registry}/{namespace}/x")
        except RuleError as error:
            raise UsageError(
                f"the default registry {registry!r} and namespace {namespace!r}: {error}"
            ) from None
        if sample != Repository(canonical_registry(registry), f"{namespace}/x"):
            raise UsageError(f"the default registry {registry!r} is not a host or host:port")
    return Defaults(registry=registry, namespace=namespace)


def parse_source(text: str) -> tuple[Repository, Selection]:
    """Read a source.

    Raises:
        RuleError: it is empty, or its repository, names or regular expression are wrong.
    """
    text = text.strip()
    if not text:
        raise RuleError("the source is empty", hint="write registry/repository, with :tag for a single tag")
    _refuse_scheme(text)
    if is_repository_pattern(text):
        return pattern_source(text), AllTags()
    head, colon, pattern = text.partition(":/")
    if colon:
        if not pattern.endswith("/"):
            raise RuleError("the regular expression is not closed", hint="write repository:/REGEX/")
        compile_pattern(pattern[:-1])
        return parse_repository(head), Matching(pattern=pattern[:-1])
    repository, names = _parse_names(text)
    return repository, AllTags() if names is None else Named(names=names)


def parse_target(
    text: str,
    *,
    source: Repository,
    selection: Selection,
    defaults: Defaults,
    environ: Mapping[str, str],
) -> Target:
    """Read a destination of a rule.

    Args:
        text: as written, variables included.
        source: the rule's.
        selection: the rule's; both sides must name the same number of tags.
        defaults: the meaning of an empty destination.
        environ: the variables.

    Raises:
        RuleError: it is invalid, or does not match the source.
    """
    destination = _expand_destination(text.strip(), source, environ)
    if not destination:
        return Target(repository=_default_repository(source, defaults))
    _refuse_scheme(destination)
    if ":/" in destination:
        raise RuleError(
            "a regular expression cannot be a destination", hint="leave it out: the tags are kept"
        )
    if TAG in destination:
        return _parse_tag_template(destination, selection)
    repository, names = _parse_names(destination)
    if names is not None:
        _check_names(selection, names)
    return Target(repository=repository, names=names)


def _expand_destination(text: str, source: Repository, environ: Mapping[str, str]) -> str:
    """Insert variables and parts of the source."""
    pieces, unset = expanded_pieces(text + REST if text.endswith("/") else text, environ)
    if unset:
        raise RuleError(f"the variable {unset[0]} is not set", hint="set it, or write the destination out")
    filled = fill(pieces, source).strip()
    if text and not filled:
        hint = 'write "" for the default registry'
        raise RuleError("the destination is empty after replacing its variables", hint=hint)
    return filled


def _parse_tag_template(text: str, selection: Selection) -> Target:
    """Read `repository:...{tag}...`."""
    front, _, tag = text.rpartition(":")
    target = Target(repository=parse_repository(front), tag=tag)
    for name in selection.names if isinstance(selection, Named) else ("x",):
        if is_digest(name):
            raise RuleError("{tag} stands for a tag, but the source names a digest", hint="write a tag")
        if not is_tag(target.written(name, None)):
            raise RuleError(
                f"{target.written(name, None)!r} is not a tag", hint="see {tag} in the destination"
            )
    return target


def _default_repository(source: Repository, defaults: Defaults) -> Repository:
    if not (defaults.registry or defaults.namespace):
        hint = "write it, or give --registry and --namespace"
        raise RuleError("the destination is empty, and there is no default", hint=hint)
    if not (defaults.registry and defaults.namespace):
        lacking = "namespace" if defaults.registry else "registry"
        hint = f"write it, or give --{lacking} (DEFAULT_{lacking.upper()}) too"
        raise RuleError(f"the destination is empty, and there is no default {lacking}", hint=hint)
    return parse_repository(f"{defaults.registry}/{defaults.namespace}/{source.path.rpartition('/')[2]}")


def _refuse_scheme(text: str) -> None:
    if text.lower().startswith(_FOLDER):
        raise RuleError(f"this version cannot read or write {_FOLDER} folders", hint="name a registry")
    for scheme in _SCHEMES:
        if text.lower().startswith(scheme):
            raise RuleError(f"a reference has no {scheme}", hint="leave it out: registry/repository")


def _parse_names(text: str) -> tuple[Repository, tuple[str, ...] | None]:
    """Read `repository[:names][@names]`; the colon before tags follows the last slash."""
    first, comma, _ = text.partition(",")
    front, at, _ = first.partition("@")
    slash, colon = front.rfind("/"), front.rfind(":")
    if colon > slash:
        names = tuple(_parse_name(item.strip()) for item in text[colon + 1 :].split(","))
        return parse_repository(front[:colon]), names
    if at:
        names = tuple(_parse_name(item.strip()) for item in text[len(front) + 1 :].split(","))
        if not is_digest(names[0]):
            raise RuleError(f"{names[0]!r} is not a digest", hint="a tag follows a colon, a digest an @")
        return parse_repository(front), names
    if comma:
        hint = f"write {front.strip()}:tag,... with a tag before the first comma"
        raise RuleError("the list starts without a tag", hint=hint)
    return parse_repository(text), None


def _parse_name(item: str) -> str:
    """Read a tag, a digest, or `tag@digest`."""
    tag, at, digest = item.partition("@")
    if at and not is_tag(tag):
        raise RuleError(f"{tag!r} is not a tag", hint="write repository:tag@digest or repository@digest")
    name = digest if at else item
    if is_digest(name) or (not at and is_tag(name)):
        return item
    if not name:
        hint = "write it there; repository without a colon is every tag"
        raise RuleError("a tag is missing after a colon, a comma or an @", hint=hint)
    if at or ":" in name:
        hint = "expected sha256: and 64 digits 0-9a-f, or sha512: and 128"
        raise RuleError(f"{name!r} is not a digest", hint=hint)
    if any(sign in name for sign in "*?["):
        hint = f"patterns go below tags: {{to: ..., tags: '{name}'}}"
        raise RuleError(f"{name!r} is not a tag", hint=hint)
    hint = "a tag has at most 128 of the characters A-Z a-z 0-9 _ . - and begins with none of . -"
    raise RuleError(f"{name!r} is not a tag", hint=hint)


def _check_names(selection: Selection, names: tuple[str, ...]) -> None:
    """Check the names of a destination against those of the source."""
    if not isinstance(selection, Named):
        named = format_count(len(names), "tag")
        hint = "name the tags of the source too, or none at the destination to keep them"
        raise RuleError(f"the destination names {named}, but the source does not", hint=hint)
    if len(selection.names) != len(names):
        hint = f"name {len(selection.names)}, or none to keep the names"
        raise RuleError(
            f"the source names {format_count(len(selection.names), 'tag')} but the destination {len(names)}",
            hint=hint,
        )
    for left, right in zip(map(read_name, selection.names), map(read_name, names), strict=True):
        if is_digest(left) and is_digest(right) and left != right:
            hint = "repeat the source's digest, give a tag, or leave it out"
            raise RuleError(f"the content {left} cannot be stored as {right}", hint=hint)
