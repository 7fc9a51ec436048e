"""`python -m pipeline` is `image-syncer`."""

from pipeline.cli import run

if __name__ == "__main__":
    run()
