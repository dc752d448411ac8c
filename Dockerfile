# loquat in a container: `docker build -t loquat .`, then `docker run -p 127.0.0.1:8080:8080 loquat`.
# The image holds the small checkpoint of this repository; --build-arg MODEL=default fetches SmolLM2-135M-Instruct
# instead, and -v /path/to/model.gguf:/models/model.gguf:ro serves any other without building again.
# BASE may be any Debian 12; deploy/container-check builds on one made with debootstrap.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc libc6-dev meson ninja-build pkg-config libmicrohttpd-dev libjansson-dev libopenblas-dev libuv1-dev \
    libpcre2-dev libutf8proc-dev zlib1g-dev ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
ARG MODEL=small
WORKDIR /src
COPY deploy/common.sh deploy/fetch-model deploy/
COPY tests/golden/models/tiny-llama.gguf tests/golden/models/
RUN mkdir -p /image/models && case "$MODEL" in \
    small) cp tests/golden/models/tiny-llama.gguf /image/models/model.gguf ;; \
    default) cp "$(LOQUAT_CACHE=/tmp/cache deploy/fetch-model)" /image/models/model.gguf && rm -r /tmp/cache ;; \
    *) echo "MODEL is small or default, not '$MODEL'" >&2; exit 1 ;; \
    esac
COPY . .
RUN meson setup /build --buildtype=release --prefix=/usr/local -Dtests=disabled \
    && ninja -C /build && DESTDIR=/image meson install -C /build --no-rebuild

FROM ${BASE}
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    libmicrohttpd12 libjansson4 libopenblas0-pthread libuv1 libpcre2-8-0 libutf8proc2 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin loquat
COPY --from=build /image/ /
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["/usr/local/bin/loquat"]
# Inside a container loopback reaches nobody; who may reach the port is decided by `docker run -p`.
CMD ["serve", "--host", "0.0.0.0", "--port", "8080", "--model", "/models/model.gguf"]
