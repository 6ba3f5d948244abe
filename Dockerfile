# The server alone, under a user without rights, which writes nothing:
#
#   docker build -t revenant .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8080:8080 \
#     -e REVENANT_API_KEY=... -v "$PWD/models/phantom-nano:/model:ro" revenant
FROM debian:12 AS build
WORKDIR /src
COPY tools/install.sh tools/
RUN tools/install.sh run
COPY . .
RUN cmake --preset notorch && cmake --build --preset notorch --target revenant && strip build/notorch/bin/revenant

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libedit2 libjpeg62-turbo libpng16-16 \
    libsimdjson14 libssl3 libutf8proc2 libwebp7 zlib1g && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/notorch/bin/revenant /usr/local/bin/revenant
USER 65532:65532
EXPOSE 8080
# No more than the shell is needed: 200 once the model is loaded.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.1 200' <&3"]
ENTRYPOINT ["/usr/local/bin/revenant"]
CMD ["serve", "-m", "/model", "--host", "0.0.0.0", "--port", "8080"]
