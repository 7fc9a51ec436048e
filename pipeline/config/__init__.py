"""The files that users write: rules and credentials, including docker's login files."""
