#!/bin/sh
# The compose stack from end to end: build, enroll, scale, kill, back up, restore. Not part of `make test`: it needs an
# engine and the registry's base images. Usage: sh tests/compose/run.sh; exits 0 and says so where there is no engine.
set -eu
cd "$(dirname "$0")/../.."

docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 || {
    echo "skipped: no container engine with compose"
    exit 0
}

work=$(mktemp -d)
project=speaker-test-$$
compose() { docker compose --project-name "$project" --file "$work/docker-compose.yml" "$@"; }
fail() {
    echo "FAILED: $1" >&2
    compose logs --tail 50 >&2
    exit 1
}
finish() {
    compose down --volumes --remove-orphans >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

# A checkout of its own: secrets and recordings of a site stay out of it.
git archive HEAD | tar -x -C "$work"
mkdir "$work/secrets"
cp -r banks/demo/speakers "$work/speaker_data"
chmod -R a+rX "$work"
printf 'a/password#%s' "$project" > "$work/secrets/redis_password"
printf 'ops:%s' "$project" > "$work/secrets/flower_auth"
cd "$work"

compose build --quiet
if compose up --detach >/dev/null 2>&1; then
    fail "it started without API keys"
fi
made=$(compose run --rm --no-deps worker speaker-tasks keys new test --scopes admin --json)
key=$(printf '%s' "$made" | sed 's/.*"key": *"\([^"]*\)".*/\1/')
printf '%s' "$made" | sed 's/.*"entry": *"\([^"]*\)".*/\1/' > secrets/api_keys
chmod a+r secrets/*

ask() { curl --silent --fail --max-time 60 --header "Authorization: Bearer $key" "$@"; }
until_ready() {
    n=0
    until ask http://127.0.0.1:6001/readyz >/dev/null; do
        n=$((n + 1))
        [ "$n" -lt "$1" ] || fail "not ready after $1 s"
        sleep 1
    done
}
who_speaks() { ask --form "audio=@speaker_data/Alice/5.ogg" "http://127.0.0.1:6001/v1/identify?bank=demo" | sed 's/.*"speaker":"\([^"]*\)".*/\1/'; }
enrolled() { ask http://127.0.0.1:6001/v1/banks | grep -c '"demo"' || true; }

compose up --detach
until_ready 180
ask --json '{"path": "/recordings"}' http://127.0.0.1:6001/v1/banks/demo/enrollments >/dev/null
n=0
until [ "$(enrolled)" -gt 0 ]; do
    n=$((n + 1))
    [ "$n" -lt 120 ] || fail "the demo's speakers are not enrolled"
    sleep 1
done
[ "$(who_speaks)" = Alice ] || fail "Alice is not recognised"

compose up --detach --scale worker=2
until_ready 60
for service in worker web redis; do
    docker kill --signal KILL "$(compose ps --quiet $service | head -n 1)" >/dev/null
    compose up --detach --scale worker=2
    until_ready 60
    [ "$(who_speaks)" = Alice ] || fail "Alice is not recognised after $service was killed"
done

docker pause "$(compose ps --quiet worker | head -n 1)" >/dev/null
sleep 35
compose ps worker | grep -q unhealthy || fail "a worker that is stopped is not unhealthy"
docker unpause "$(compose ps --quiet worker | head -n 1)" >/dev/null

compose run --rm worker speaker-tasks backup /data/backup.zip
ask --request DELETE http://127.0.0.1:6001/v1/banks/demo >/dev/null
[ "$(enrolled)" -eq 0 ] || fail "the bank is still there"
compose run --rm worker speaker-tasks restore /data/backup.zip
[ "$(who_speaks)" = Alice ] || fail "Alice is not recognised after the restore"

compose logs web | grep -q "status=200" || fail "no line of a request"
echo "passed"
