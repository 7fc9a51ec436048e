# image-syncer as the container image of the original tool is used: same entrypoint, same default file.
#
#   docker build -t image-syncer .
#   docker run --rm -v "$PWD/config:/etc/image-syncer:ro" -v records:/records image-syncer
#   docker run --rm -v "$PWD:/etc/image-syncer:ro" -v records:/records image-syncer --images /etc/image-syncer/images.yaml
#
# Debian and not Alpine: google-re2 has no wheels for musl, and building them needs Abseil and pybind11
# (https://github.com/google/re2/issues/587).
ARG DEBIAN=bookworm-slim
# [dask]: also what --engine dask needs, for the run, Dask's scheduler and its workers.
ARG EXTRA=

FROM debian:${DEBIAN} AS build
ARG EXTRA
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
COPY requirements.lock /src/
# Everything that is used below has the hash that the lock names; nothing else is downloaded.
RUN python3 -m venv /build && \
    /build/bin/pip download --disable-pip-version-check --require-hashes -d /wheels -r /src/requirements.lock
COPY LICENSE pyproject.toml README.md /src/
COPY completions /src/completions
COPY bin /src/bin
COPY pipeline /src/pipeline
RUN /build/bin/pip install --disable-pip-version-check --no-index --find-links /wheels hatchling && \
    /build/bin/pip wheel --disable-pip-version-check --no-index --no-deps --no-build-isolation -w /wheels /src && \
    python3 -m venv /opt/image-syncer && \
    /opt/image-syncer/bin/pip install --disable-pip-version-check --no-index --find-links /wheels "image-syncer${EXTRA}"

FROM debian:${DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 && \
    rm -rf /var/lib/apt/lists/* && \
    ln -s /opt/image-syncer/bin/image-syncer /usr/local/bin/image-syncer && \
    install -d -m 0700 -o 65532 -g 65532 /records
COPY --from=build /opt/image-syncer /opt/image-syncer
# The records of ./records are those of /records; who mounts nothing there begins anew each time.
WORKDIR /
VOLUME /records
USER 65532:65532
ENTRYPOINT ["image-syncer"]
CMD ["--config", "/etc/image-syncer/image-syncer.json"]
