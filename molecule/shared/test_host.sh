#!/usr/bin/env bash
# Makes this machine able to run the scenarios: a Docker Engine that answers, and one test image for each suite asked for.
#   molecule/shared/test_host.sh [bullseye|bookworm|trixie ...]
# Changes nothing that is already right, so that every scenario can call it. Safe to run several times at once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
week=$((7 * 24 * 3600))

say() { printf 'test_host: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
answers() { docker info >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
quietly() { local output; output=$("$@" 2>&1) || die "$* failed: $output"; } # these commands also warn on stderr when all is well
install() { quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; }

no_access() { die "$(id -un) may not use the Docker Engine: sudo usermod -aG docker $(id -un), log in again, repeat."; }

may_install() {
  command -v apt-get >/dev/null || die "no Docker Engine answers (\`docker info\`). Install Docker and start it, then repeat."
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; } ||
    die "no Docker Engine answers (\`docker info\`). As root: apt-get install docker.io && systemctl start docker"
}

install_engine() {
  command -v dockerd >/dev/null && return
  say "installing the Docker Engine (package docker.io)"
  as_root apt-get update -qq
  local packages=(docker.io iptables ca-certificates)
  # Newer releases have the command in a package of its own, which docker.io only recommends.
  if apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  install "${packages[@]}"
}

start_by_hand() { # as root; a pid file left by a killed engine stops the next one from starting
  local file pid
  for file in /run/docker.pid /run/docker/containerd/containerd.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    case $(readlink "/proc/$pid/exe" || true) in */dockerd | */containerd) ;; *) rm -f "$file" ;; esac
  done
  setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null 9>&- &
}

start_engine() {
  say "starting the Docker Engine"
  if [ -d /run/systemd/system ]; then as_root systemctl start docker
  else as_root bash -c "$(declare -f start_by_hand); start_by_hand"; fi
  for _ in $(seq 240); do
    if answers; then return; fi
    if as_root docker info >/dev/null 2>&1; then no_access; fi
    sleep 0.25
  done
  as_root tail -20 /var/log/dockerd.log >&2 || true
  die "the Docker Engine does not answer after 60 s"
}

base_image() { # prints the name of a plain image of the suite: the registry's, else one made of the distribution's packages
  local suite=$1
  if docker pull -q "debian:$suite" 2>/dev/null; then return; fi
  mmdebstrap --quiet --variant=minbase --include=ca-certificates --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" - |
    docker import - "cachestack-test/base:$suite" >/dev/null
  echo "cachestack-test/base:$suite"
}

is_current() { # the image is of this Dockerfile, and its apt lists are not stale
  local suite=$1 label
  label=$(docker image inspect -f '{{index .Config.Labels "cachestack-test"}}' "cachestack-test/debian:$suite" 2>/dev/null) || return 1
  [ "${label% *}" = "$recipe" ] && [ $(($(date +%s) - ${label#* })) -lt $week ]
}

build() {
  local suite=$1 base
  say "building the test image of $suite"
  base=$(base_image "$suite")
  quietly docker build -q --no-cache --label "cachestack-test=$recipe $(date +%s)" --build-arg "BASE=$base" \
    -t "cachestack-test/debian:$suite" - <"$here/Dockerfile"
}

recipe=$(cksum <"$here/Dockerfile" | tr ' ' -)
if [ "${1-}" = --build ]; then build "$2"; exit; fi

exec 9>"${TMPDIR:-/tmp}/cachestack-test-host-$(id -u).lock"
if command -v flock >/dev/null; then flock 9; fi
if ! answers; then
  if { docker info 2>&1 || true; } | grep -q 'permission denied'; then no_access; fi
  may_install
  install_engine
  start_engine
fi
missing=()
for suite in "$@"; do
  is_current "$suite" || missing+=("$suite")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v mmdebstrap >/dev/null && command -v apt-get >/dev/null; then
  may_install
  as_root apt-get update -qq
  install mmdebstrap debian-archive-keyring
fi
printf '%s\n' "${missing[@]}" | xargs -P 2 -n 1 "${BASH_SOURCE[0]}" --build
docker image prune -f --filter label=cachestack-test >/dev/null
