# The shop of services/: one image, one service a container (see docker-compose.yml).
# Base image and package index are build arguments, and packages may lie in build/wheels: see
# docs/containers.md for a build without Docker Hub and PyPI. Nothing here needs BuildKit.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# pip takes these from its environment. Not set unless given; this stage is not in the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_NO_INDEX
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/src/wheels
WORKDIR /src
# pip and the build backend stay behind in /opt/build; the image gets /opt/shop.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/shop
# What we stand on, in a layer of its own: only a change of pyproject.toml or of the wheels fetches
# it again. The glob may match nothing.
COPY pyproject.toml buil[d]/wheels wheels/
RUN /opt/build/bin/python -c "import tomllib; \
project = tomllib.load(open('wheels/pyproject.toml', 'rb')); \
print(*project['build-system']['requires'], sep='\n', file=open('backend.txt', 'w')); \
print(*project['project']['dependencies'], *project['project']['optional-dependencies']['otlp'], \
sep='\n', file=open('needed.txt', 'w'))" \
    && /opt/build/bin/pip install -r backend.txt \
    && /opt/build/bin/pip --python /opt/shop/bin/python install -r needed.txt
COPY pyproject.toml README.md LICENSE ./
COPY framework framework
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/shop/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
# Unbuffered: the last log lines must be out when the container is killed.
# No Unix socket: nobody else is in the container. Snapshots outlive it, in the volume.
ENV PATH=/opt/shop/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SEAWALL_HOST=0.0.0.0 SEAWALL_PORT=50051 SEAWALL_METRICS=0.0.0.0:9464 \
    SEAWALL_LOG_FORMAT=json SEAWALL_UNIX_SOCKET=off SEAWALL_SNAPSHOTS=/data/snapshots \
    SHOP_DATA=/data
RUN useradd --system --uid 10001 --user-group --home-dir /app --shell /usr/sbin/nologin shop \
    && mkdir -p /app /data/snapshots && chown -R shop:shop /data && chmod 700 /data/snapshots
COPY --from=build /opt/shop /opt/shop
WORKDIR /app
COPY services services
# Compiled here, as the root file system is read-only when it runs.
RUN python -m compileall -q services
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 50051 9464
VOLUME /data
# It is healthy when it says so by gRPC's health protocol: then it is registered and serves.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-m", "services.healthy"]
# No shell around it: SIGTERM reaches the service itself, which drains and leaves.
ENTRYPOINT ["seawall", "run"]
CMD ["services.storefront:Storefront"]
