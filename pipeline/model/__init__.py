"""The words as data, pure: reference, manifest, platform, selection of tags, messages."""
