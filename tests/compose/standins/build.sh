#!/usr/bin/env bash
# Builds images under the names that the compose file asks for, from Debian packages and Kafka's
# jars, for machines that reach these but no image registry. They read the same environment and
# serve on the same ports as the official images; they are not those. What is there already stays.
# Needs root, an engine and debootstrap; for the brokers the development installation (.venv).
#   tests/compose/standins/build.sh IMAGE ...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

there() { docker image inspect "$1" >/dev/null 2>&1; }

# A bare Debian, which trusts the same certificates as this machine does.
debian() {
  there "jangteo-standin/debian:$1" && return
  debootstrap --variant=minbase --include=ca-certificates "$1" "$work/$1" >"$work/$1.log" 2>&1 ||
    { tail -n 20 "$work/$1.log" >&2; return 1; }
  cp /etc/ssl/certs/ca-certificates.crt "$work/$1/etc/ssl/certs/ca-certificates.crt"
  tar -C "$work/$1" -c . | docker import - "jangteo-standin/debian:$1" >/dev/null
  rm -rf "${work:?}/$1"
}

jars() { # the brokers', as deploy/kafka/jars.txt pins them
  local libs
  libs=$(cd "$root" && "${PYTHON:-.venv/bin/python}" -c 'from jangteo.stack.kafka import jars as kafka_jars; print(kafka_jars.fetch())')
  cp -r "$libs" "$1"
}

image() { # name of the image, folder here
  local context="$work/$2"
  cp -r "$here/$2" "$context"
  [ "$2" != kafka ] || jars "$context/libs"
  DOCKER_BUILDKIT=0 docker build --network host --quiet --label jangteo.standin=1 \
    --tag "$1" "$context" 2>/dev/null
}

for name in "$@"; do
  there "$name" && continue
  echo "building a stand-in of $name" >&2
  case "$name" in
    postgres:17) debian trixie; image "$name" postgres ;;
    redis:7) debian bookworm; image "$name" redis ;;
    apache/kafka:*) debian bookworm; image "$name" kafka ;;
    python:3.11-slim-bookworm) debian bookworm; image "$name" python ;;
    adminer:*) debian bookworm; image "$name" adminer ;;
    prom/prometheus:*) debian bookworm; image "$name" prometheus ;;
    kafbat/kafka-ui:*) debian bookworm; image "$name" kafka-ui ;;
    *) echo "no stand-in of $name" >&2; exit 2 ;;
  esac
done
