#!/bin/sh
# Java 17, Maven and libpython for the integration tests: installed through apt where that is allowed, named otherwise.
set -u
missing=""
command -v java >/dev/null 2>&1 || missing="$missing openjdk-17-jre-headless"
command -v mvn >/dev/null 2>&1 || missing="$missing maven"
ldconfig -p 2>/dev/null | grep -q 'libpython3\.11\.so\.1\.0' || missing="$missing libpython3.11"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "test: installing$missing" >&2
  # shellcheck disable=SC2086
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null && exit 0
fi
echo "test: missing$missing: the tests that need them are skipped (and fail where CI=true)" >&2
exit 0
