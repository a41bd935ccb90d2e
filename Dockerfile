# The official image's Python is built with profile-guided optimisation; without it, a request takes a fifth more CPU.
ARG PYTHON_IMAGE=python:3.13.5-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/llm-gateway
COPY requirements/runtime.txt /build/requirements/runtime.txt
RUN /opt/llm-gateway/bin/pip install --require-hashes -r /build/requirements/runtime.txt
# For what is compiled (docs/dependencies.md). It stays in this stage, so that any version of the base image's will do.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml hatch_build.py README.md LICENSE /build/
COPY migrations /build/migrations
COPY src /build/src
# Compiled here, because nothing can be written where it runs.
RUN /opt/llm-gateway/bin/pip install --no-build-isolation --no-deps /build \
    && /opt/llm-gateway/bin/python -m compileall -q /opt/llm-gateway/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="llm-gateway" \
      org.opencontainers.image.description="An OpenAI-compatible LLM gateway" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/llm-gateway --shell /usr/sbin/nologin llm-gateway \
    && install -d -o llm-gateway -g llm-gateway -m 700 /var/lib/llm-gateway
COPY --from=build /opt/llm-gateway /opt/llm-gateway
ENV PATH=/opt/llm-gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=18000 \
    DATA_DIR=/var/lib/llm-gateway
WORKDIR /var/lib/llm-gateway
USER 10001
VOLUME /var/lib/llm-gateway
EXPOSE 18000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health\", timeout=4)"]
ENTRYPOINT ["llm-gateway"]
CMD ["serve"]
