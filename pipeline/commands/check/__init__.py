"""`image-syncer check`: whether a run could start, asked of every registry and repository that rules name."""
