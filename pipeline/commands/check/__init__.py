"""`image-syncer check`: whether a run could start, tested at every registry and repository in the rules."""
