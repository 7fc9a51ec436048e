"""The files that users write: rules and credentials, ours and docker's."""
