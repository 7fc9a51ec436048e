"""How other registries differ from the conformance suite; each difference was examined."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CRANE: Mapping[str, str] = {
    "its Location has no host": "test_manifest_put_returns_its_location test_stores_a_blob_in_two_requests",
    "it ignores If-None-Match": "test_if_none_match_returns_304",
    "it ignores Accept": "test_manifest_type_not_in_accept_is_404",
    "it stores any manifest": "test_refuses_docker_schema_1 test_manifest_without_its_blobs_fails "
    "test_refuses_manifest_with_missing_blobs test_blob_of_another_repository_does_not_count "
    "test_refuses_missing_foreign_layer_without_urls test_refuses_manifest_with_wrong_digest "
    "test_refuses_manifest_with_wrong_content_type test_refuses_manifest_that_is_no_json_object",
    "it names only the first missing manifest": "test_refuses_index_with_missing_children",
    "its errors have no detail": "test_errors_have_code_message_and_detail",
    "its error for an unknown page is JSON": "test_referrers_api_is_404",
    "it answers NAME_UNKNOWN for a manifest": "test_reading_a_missing_manifest_fails",
    "it answers NAME_INVALID for a wrong digest": "test_refuses_missing_or_malformed_digest[crane-sha256] "
    "test_refuses_missing_or_malformed_digest[crane-sha256:abc] "
    "test_refuses_missing_or_malformed_digest[crane-md5:d41d8cd98f00b204e9800998ecf8427e]",
    "its upload sessions never end and cannot be cancelled": "test_repeated_put_is_404 "
    "test_delete_cancels_a_session test_cancels_an_upload",
    "it does not return the state of an upload session": "test_get_session_returns_received_range "
    "test_new_session_is_empty test_resumes_an_upload",
    "an outdated Location is 400": "test_outdated_location_is_404",
    "it reads the body of a POST": "test_post_with_digest_discards_its_body",
    "a range needs both ends: 416": "test_range_returns_part_of_a_blob[crane-bytes=3--bytes_3-9/10-3456789] "
    "test_range_returns_part_of_a_blob[crane-bytes=8-99-bytes_8-9/10-89] "
    "test_range_returns_part_of_a_blob[crane-bytes=-2-bytes_8-9/10-89] "
    "test_if_range_returns_all_of_a_changed_blob test_reads_a_blob[crane-1] "
    "test_reads_a_blob[crane-299999]",
    "it mounts nothing": "test_mounts_a_blob test_mounts_from_the_repository_itself[crane-a/b-201]",
}
_OCIMEM: Mapping[str, str] = {
    "it ignores If-None-Match and If-Range": "test_if_none_match_returns_304 "
    "test_if_range_returns_all_of_a_changed_blob",
    "it ignores Accept": "test_manifest_type_not_in_accept_is_404",
    "a manifest that it refuses is 500 UNKNOWN": "test_refuses_manifest_with_missing_blobs "
    "test_blob_of_another_repository_does_not_count test_refuses_manifest_that_is_no_json_object",
    "it does not say which digest is missing": "test_refuses_index_with_missing_children",
    "it stores unknown types unchecked": "test_refuses_missing_foreign_layer_without_urls "
    "test_refuses_docker_schema_1 test_refuses_manifest_with_wrong_content_type",
    "it has the referrers API": "test_referrers_api_is_404 test_missing_referrers_api_is_detected",
    "invalid repositories are 400": "test_unknown_path_is_404_or_redirect[ocimem-/v2/UPPER/manifests/v1] "
    "test_unknown_path_is_404_or_redirect[ocimem-/v2/a//b/tags/list]",
    "its errors have no detail": "test_errors_have_code_message_and_detail",
    "the PUT of the last chunk needs a Content-Range": "test_put_may_carry_the_last_chunk",
    "its sessions have no Docker-Upload-UUID": "test_new_session_is_empty",
    "an outdated Location is 416 RANGE_INVALID": "test_outdated_location_is_404",
    "its sessions never end and cannot be cancelled": "test_repeated_put_is_404 "
    "test_delete_cancels_a_session test_cancels_an_upload",
    "it answers NAME_UNKNOWN for an empty repository": "test_missing_blob_is_404[ocimem-GET] "
    "test_reading_a_missing_manifest_fails",
    "it ignores suffix ranges": "test_range_returns_part_of_a_blob[ocimem-bytes=-2-bytes_8-9/10-89]",
    "a failed mount opens no session": "test_impossible_mount_opens_a_session[ocimem-absent] "
    "test_impossible_mount_opens_a_session[ocimem-no_repository] "
    "test_impossible_mount_opens_a_session[ocimem-no_digest] "
    "test_mounts_from_the_repository_itself[ocimem-a/c-202]",
    "it stores the body of a POST": "test_post_with_digest_discards_its_body",
}
_NGINX: Mapping[str, str] = {
    "the registry behind it answers with its own repository name": "test_lists_tags_of_a_repository",
    "it does not rewrite the query, so the repository to mount from is missing": "test_mounts_a_blob "
    "test_mounts_from_the_repository_itself[nginx-a/b-201]",
}
_DISTRIBUTION: Mapping[str, str] = {
    "an outdated Location is 416 RANGE_INVALID": "test_outdated_location_is_404",
}
_ON_S3: Mapping[str, str] = {
    **_DISTRIBUTION,
    "gofakes3 refuses an empty object": "test_stores_an_empty_blob "
    "test_uploads_a_blob[distribution-3-s3-empty]",
    "gofakes3 finds every folder, so no repository is missing": "test_tag_list_of_missing_repository_is_404 "
    "test_missing_repository_has_no_tags",
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
