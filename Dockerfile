# docker build -t roomward .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Statements are checked against .sqlx/: the build needs no database.
RUN cargo build --release --locked --bin roomward

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home roomward
# Callbacks go to targets with certificates, and the slim image knows no authority.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/roomward /usr/local/bin/roomward
USER roomward
ENV ROOMWARD__SERVER__HOST=0.0.0.0 ROOMWARD__LOG__FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=6s --start-period=10s CMD ["roomward", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["roomward"]
CMD ["serve"]
