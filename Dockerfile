# docker build -t roomward .
#
# Both bases are exact, so that the same source makes the same image; raise them by hand.
ARG BUILD=rust:1.95.0-bookworm
ARG RUNTIME=debian:bookworm-20260824-slim

FROM ${BUILD} AS build
WORKDIR /src
# The dependencies, in a layer of their own: it is made anew only when Cargo.lock changes. rust-toolchain.toml stays outside, or
# rustup would fetch another compiler than the base has.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/api \
 && echo 'fn main() {}' | tee src/main.rs > tests/api/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --bin roomward
# Statements are checked against .sqlx/: the build needs no database.
COPY .sqlx .sqlx
COPY assets assets
COPY config config
COPY migrations migrations
COPY src src
# Younger than what was built from the empty files above, whatever the checkout says.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin roomward

FROM ${RUNTIME}
# Callbacks go to targets with certificates, and the slim image knows no authority.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/roomward /usr/local/bin/roomward
# A number: Kubernetes' runAsNonRoot does not look names up. Nothing is ever written, so the root may be read-only.
USER 10001:10001
ENV ROOMWARD__SERVER__HOST=0.0.0.0 ROOMWARD__LOG__FORMAT=json
EXPOSE 8080
# Alive, not ready: a restart does not bring a database back.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["roomward", "health", "--alive"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["roomward"]
CMD ["serve"]
