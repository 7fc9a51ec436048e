"""How other registries differ from the conformance suite; each difference was examined."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CRANE: Mapping[str, str] = {
    "its Location has no host": "test_points_to_the_stored_manifest test_stores_a_blob_in_two_requests",
    "it knows no If-None-Match": "test_confirms_an_unchanged_manifest",
    "it looks at no Accept": "test_hides_a_manifest_whose_type_is_not_accepted",
    "it stores whatever manifest it is sent": "test_refuses_docker_schema_1 test_manifest_lacks_blobs "
    "test_refuses_a_manifest_whose_blobs_are_missing test_wants_blobs_in_the_same_repository "
    "test_refuses_a_foreign_layer_that_nobody_has test_refuses_a_manifest_under_another_digest "
    "test_refuses_a_manifest_under_another_type test_refuses_what_is_no_manifest",
    "it names the first missing manifest only": "test_refuses_an_index_whose_children_are_missing",
    "its errors have no detail": "test_gives_every_error_the_same_form",
    "its error for an unknown page is JSON": "test_knows_no_referrers",
    "it says NAME_UNKNOWN for a manifest": "test_reads_no_manifest_that_is_absent",
    "it calls a wrong digest NAME_INVALID": "test_refuses_a_digest_that_is_none[crane-sha256] "
    "test_refuses_a_digest_that_is_none[crane-sha256:abc] "
    "test_refuses_a_digest_that_is_none[crane-md5:d41d8cd98f00b204e9800998ecf8427e]",
    "its upload sessions are never cancelled or over": "test_ends_a_session_once test_cancels_a_session "
    "test_cancels_an_upload",
    "it has no state of an upload session": "test_knows_the_state_of_a_session "
    "test_begins_a_session_with_nothing test_resumes_an_upload",
    "a Location that is outdated is 400": "test_refuses_an_outdated_location",
    "it reads the body of a POST": "test_discards_the_body_of_a_post_with_a_digest",
    "a range needs both ends: 416": "test_sends_a_part_of_a_blob[crane-bytes=3--bytes_3-9/10-3456789] "
    "test_sends_a_part_of_a_blob[crane-bytes=8-99-bytes_8-9/10-89] "
    "test_sends_a_part_of_a_blob[crane-bytes=-2-bytes_8-9/10-89] test_opens_a_blob_anew_where_it_changed "
    "test_reads_a_blob[crane-1] test_reads_a_blob[crane-299999]",
    "it mounts nothing": "test_mounts_a_blob test_mounts_from_the_repository_itself[crane-a/b-201]",
}
_OCIMEM: Mapping[str, str] = {
    "it knows no If-None-Match and no If-Range": "test_confirms_an_unchanged_manifest "
    "test_opens_a_blob_anew_where_it_changed",
    "it looks at no Accept": "test_hides_a_manifest_whose_type_is_not_accepted",
    "a manifest that it does not take is 500 UNKNOWN": "test_refuses_a_manifest_whose_blobs_are_missing "
    "test_wants_blobs_in_the_same_repository test_refuses_what_is_no_manifest",
    "it does not say which digest is missing": "test_refuses_an_index_whose_children_are_missing",
    "it stores types that it does not know as they come": "test_refuses_a_foreign_layer_that_nobody_has "
    "test_refuses_docker_schema_1 test_refuses_a_manifest_under_another_type",
    "it has the referrers API": "test_knows_no_referrers test_has_no_referrers_api",
    "a path that is no repository is 400": "test_knows_no_other_pages[ocimem-/v2/UPPER/manifests/v1] "
    "test_knows_no_other_pages[ocimem-/v2/a//b/tags/list]",
    "its errors have no detail": "test_gives_every_error_the_same_form",
    "the PUT of the last piece needs a Content-Range": "test_stores_the_last_piece_with_the_put",
    "its sessions have no Docker-Upload-UUID": "test_begins_a_session_with_nothing",
    "a Location that is outdated is 416 RANGE_INVALID": "test_refuses_an_outdated_location",
    "its sessions are never cancelled or over": "test_ends_a_session_once test_cancels_a_session "
    "test_cancels_an_upload",
    "it says NAME_UNKNOWN where a repository holds nothing": "test_says_that_a_blob_is_unknown[ocimem-GET] "
    "test_reads_no_manifest_that_is_absent",
    "it knows no range of the last bytes": "test_sends_a_part_of_a_blob[ocimem-bytes=-2-bytes_8-9/10-89]",
    "a mount that fails opens no session": "test_opens_a_session_where_it_cannot_mount[ocimem-absent] "
    "test_opens_a_session_where_it_cannot_mount[ocimem-no_repository] "
    "test_opens_a_session_where_it_cannot_mount[ocimem-no_digest] "
    "test_mounts_from_the_repository_itself[ocimem-a/c-202]",
    "it stores the body of a POST": "test_discards_the_body_of_a_post_with_a_digest",
}
_NGINX: Mapping[str, str] = {
    "the registry behind it gives its own name of the repository": "test_lists_tags_of_a_repository",
    "it leaves the query alone, so the repository to mount from is not there": "test_mounts_a_blob "
    "test_mounts_from_the_repository_itself[nginx-a/b-201]",
}
_DISTRIBUTION: Mapping[str, str] = {
    "a Location that is outdated is 416 RANGE_INVALID": "test_refuses_an_outdated_location"
}
_ON_S3: Mapping[str, str] = {
    **_DISTRIBUTION,
    "gofakes3 takes no empty object": "test_stores_an_empty_blob "
    "test_uploads_a_blob[distribution-3-s3-empty]",
    "gofakes3 finds every folder, so what is absent has no tags": "test_says_that_a_repository_is_unknown "
    "test_lists_no_tags_of_no_repository",
}


def difference(name: str) -> str:
    """Why a test with this name, including its parameters, fails; empty if it must pass."""
    test, _, parameters = name.partition("[")
    kinds = {
        "crane": _CRANE,
        "ocimem": _OCIMEM,
        "nginx": _NGINX,
        "distribution-3-s3": _ON_S3,
        "distribution-3": _DISTRIBUTION,
    }
    known = next((table for kind, table in kinds.items() if parameters.startswith(kind)), {})
    wanted = {name.replace(" ", "_"), test}
    return next((why for why, names in known.items() if wanted & set(names.split())), "")
