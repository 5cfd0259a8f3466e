#!/bin/sh
# Install Debian's Chromium and a font for Chinese, for tests/browser; says so and goes on where that cannot be done.
set -eu

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no Chromium here: the browser tests are skipped; on Debian: sudo apt-get install chromium fonts-noto-cjk" >&2
    exit 0
fi
echo "installing Chromium for the browser tests"
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 -qq update >/dev/null &&
    apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends chromium fonts-noto-cjk >/dev/null ||
    echo "Chromium could not be installed: the browser tests are skipped" >&2
