# The shop of services/: one image, one service a container (see docker-compose.yml).
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY framework framework
RUN pip install --no-cache-dir --prefix=/install .

FROM python:3.11-slim
# Unbuffered: the last log lines must be out when the container is killed.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app \
    SEAWALL_HOST=0.0.0.0 SEAWALL_PORT=50051 SHOP_DATA=/data
COPY --from=build /install /usr/local
RUN useradd --system --uid 10001 --home-dir /app shop \
    && mkdir -p /app /data && chown shop: /data
WORKDIR /app
COPY services services
USER shop
EXPOSE 50051
VOLUME /data
# It is healthy when it says so by gRPC's health protocol: then it is registered and serves.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "services.healthy"]
# No shell around it: SIGTERM reaches the service itself, which drains and leaves.
ENTRYPOINT ["seawall", "run"]
CMD ["services.storefront:Storefront"]
