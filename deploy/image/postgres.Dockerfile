# PostgreSQL under Patroni, with pgvector, from the packages of the PostgreSQL project.
#
#   docker build -f deploy/image/postgres.Dockerfile -t holdfast-postgres:17 deploy/image
FROM postgres:17-bookworm
RUN apt-get update \
  && apt-get install --yes --no-install-recommends patroni python3-etcd python3-psycopg2 postgresql-17-pgvector curl \
  && rm -rf /var/lib/apt/lists/*
COPY --chown=postgres:postgres patroni.yml /etc/patroni.yml
COPY --chown=postgres:postgres --chmod=755 holdfast-bootstrap /etc/holdfast-bootstrap
USER postgres
ENTRYPOINT ["patroni", "/etc/patroni.yml"]
