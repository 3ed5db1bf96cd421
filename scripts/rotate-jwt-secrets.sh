#!/usr/bin/env bash
# Rotates JWT_SECRET and JWT_REFRESH_SECRET: takumi-secrets rotate jwt, with Takumi's
# environment.
#
#   scripts/rotate-jwt-secrets.sh --dry-run   says whether it is due, and what would be done
#   scripts/rotate-jwt-secrets.sh --force     although it is not due
#   scripts/rotate-jwt-secrets.sh --finish    takes the former secrets away after 48 hours
#
# SECRETS_BACKEND and NODE_ENV say where the secrets are. HEALTH_URL is asked before and
# after, TEST_URL takes a token in the Authorization header; without them production
# refuses, unless with --no-proof. On Kubernetes the deployment is K8S_DEPLOYMENT
# (takumi-backend) in K8S_NAMESPACE; else with COMPOSE_SERVICE that service of docker
# compose is restarted, without what it depends on. Further arguments go to the program.
#
# The log and the history are in logs/jwt-rotation below the current folder, or in
# TAKUMI_ROTATION_DIR. Killed at any moment, the same call finishes or rolls back.

set -euo pipefail

case ${1-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac

export TAKUMI_ROTATION_DIR=${TAKUMI_ROTATION_DIR:-$PWD/logs/jwt-rotation}
arguments=()
[[ -z ${HEALTH_URL:-} ]] || arguments+=(--health-url "$HEALTH_URL")
[[ -z ${TEST_URL:-} ]] || arguments+=(--test-url "$TEST_URL")
if [[ ${SECRETS_BACKEND:-} == kubernetes* || -n ${K8S_DEPLOYMENT:-} ]]; then
    arguments+=(--deployment "${K8S_DEPLOYMENT:-takumi-backend}" --namespace "${K8S_NAMESPACE:-}")
elif [[ -n ${COMPOSE_SERVICE:-} ]]; then
    arguments+=(--rollout "docker compose up -d --no-deps --force-recreate --wait $COMPOSE_SERVICE")
fi
exec takumi-secrets rotate jwt "${arguments[@]}" "$@"
